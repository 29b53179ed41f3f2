// The announcement half of gossip: own log, other nodes' logs, the content index, names and their
// repair. Membership tells it who lives, Gossip seals and sends what it says. Format:
// docs/wire-announcements.md.
#pragma once

#include "base/bytes.hpp"
#include "base/digest.hpp"
#include "base/identity.hpp"
#include "base/ids.hpp"
#include "base/latency_histogram.hpp"
#include "base/limits.hpp"
#include "base/prng.hpp"
#include "base/siphash.hpp"
#include "base/time.hpp"
#include "base/timer_table.hpp"
#include "base/token_bucket.hpp"
#include "gossip/announcement_log.hpp"
#include "gossip/announcement_wire.hpp"
#include "gossip/anti_entropy.hpp"
#include "gossip/content_index.hpp"
#include "gossip/name_table.hpp"
#include "gossip/node_slots.hpp"
#include "gossip/records.hpp"
#include "gossip/relay_plan.hpp"
#include "gossip/send_budget.hpp"
#include "gossip/snapshot_import.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

namespace waggle::gossip {

struct AnnouncementsConfig {
  IdKey id_key;
  NodeId self;
  std::uint64_t incarnation = 1;
  std::size_t message_bytes_max = 1200;  ///< of one UDP message body; at least 512
  std::uint64_t seed = 1;                ///< choices only
  BroadcastMode broadcast = BroadcastMode::automatic;
  /// Packed entries of a part that this node gives; up to that limit.
  std::size_t snapshot_part_bytes = limits::snapshot_part_bytes_max;
  std::optional<ToldLog> told;  ///< of this node's last process: the own log opens with its set
};
/// To be sealed and sent by datagram.
struct AnnouncementMessage {
  std::optional<NodeId> to;  ///< empty: to the multicast group
  Bytes body;
};
/// To be sent over a TCP session as one opaque frame.
struct AnnouncementBulk {
  NodeId to;
  Bytes frame;
};

/// What was refused, dropped or repaired since the start.
struct AnnouncementStats {
  std::uint64_t malformed = 0;       ///< messages and frames that did not decode
  std::uint64_t unknown_sender = 0;  ///< from nodes that membership did not name
  std::uint64_t refused_records =
      0;  ///< RECORDS of unknown origins, other incarnations, or about this node
  std::uint64_t refused_facts = 0;      ///< beyond the limits of the index or of an origin
  std::uint64_t refused_names = 0;      ///< signature wrong or a field beyond its limit
  std::uint64_t refused_sets = 0;       ///< sets that nobody asked for, or whose hash is not theirs
  std::uint64_t refused_members = 0;    ///< key that is not the id's, too many, incarnation jump
  std::uint64_t dropped_messages = 0;   ///< the queue was full; anti-entropy repairs it
  std::uint64_t refused_questions = 0;  ///< beyond the repair rates; the asker tries another node
  std::uint64_t gaps = 0;               ///< RECORDS beyond the window of their log
  std::uint64_t sets_pulled = 0;
  std::uint64_t sets_served = 0;
  std::uint64_t snapshots_taken = 0;  ///< imports that came to their end
  std::uint64_t snapshot_parts_taken = 0;
  std::uint64_t snapshot_parts_served = 0;
  std::uint64_t refused_parts = 0;  ///< that nobody asked for, or that contradict themselves
};

/// Own log, other nodes' logs, index, names, anti-entropy.
///
/// Own records leave 20 ms after the first one: to every live node, to the own row of the relay
/// (relay_plan.hpp) or to the multicast group (BroadcastMode). What a node of the own row announces
/// is passed on 50 ms later. The more there is to say, the larger are the batches
/// (send_budget.hpp). Nothing is sent twice for safety but for the relay's further
/// copies: every loss (and every full queue) is found by comparing roots with a random live
/// node each 2 s (250 ms until the first equal root, 500 ms after a question without an answer or
/// one that found much), and repaired from logs or by pulling whole sets over bulk frames. Logs in
/// which records came in the last 2 s are left alone: the rest is on its way. A node that lacks the
/// sets of more than limits::set_pulls_max origins and of an eighth of the members imports a
/// snapshot of another one's index (snapshot_import.hpp) instead. Facts of a node that
/// is down leave lookups at once and are cleared after 60 s. Facts of a former incarnation stay
/// until the new log has the same set, at most 10 s.
///
/// Contract: after any input, drain poll_message and poll_bulk, then re-read poll_timeout, before
/// the next input. Time never runs backwards between inputs. Same config + same inputs = same
/// outputs.
class Announcements {
 public:
  static constexpr Duration first_flush_delay = std::chrono::milliseconds(20);
  /// From the first member of all to telling it: by then more of them are known.
  static constexpr Duration first_company_delay = std::chrono::milliseconds(250);
  static constexpr Duration relay_delay = std::chrono::milliseconds(50);
  static constexpr Duration repair_interval = std::chrono::seconds(2);
  static constexpr Duration repair_interval_large = std::chrono::seconds(5);  ///< above 2,000
  static constexpr Duration repair_retry_interval = std::chrono::milliseconds(500);
  static constexpr Duration join_repair_interval = std::chrono::milliseconds(250);
  static constexpr Duration join_time =
      std::chrono::seconds(10);  ///< after it, repair_interval without a match too
  /// A log moves when a record came in so lately.
  static constexpr Duration motion_time = std::chrono::seconds(2);
  /// A hole in it that is older will not close by itself.
  static constexpr Duration hole_time = std::chrono::seconds(1);
  static constexpr std::size_t unicast_below = 24;  ///< members, the node itself included
  static constexpr std::size_t relay_above = 40;
  /// While much is sent, one batch of so many says how old it is (lag()).
  static constexpr std::uint64_t aged_batches_share = 8;
  /// Protocol version from which members know the relay, buckets and snapshots.
  static constexpr std::uint8_t relay_version = 2;
  static constexpr Duration old_facts_time = std::chrono::seconds(10);
  static constexpr Duration down_facts_time = std::chrono::seconds(60);

  /// @param identity  signs names; must outlive the object
  Announcements(const AnnouncementsConfig& config, const Identity& identity, TimePoint now);
  Announcements(const Announcements&) = delete;
  Announcements& operator=(const Announcements&) = delete;

  // Inputs.
  /// This node holds a complete blob. Repeats change nothing; refused (counted) beyond
  /// ids_per_origin_max, and for a second blob with the same id64 while the first is held.
  void announce(TimePoint now, const Digest& digest, std::uint64_t size);
  /// This node no longer holds it.
  void withdraw(TimePoint now, const Digest& digest);
  /// Signs the name and announces it when it is newer than what the cluster has. Cost about 36 us.
  void announce_name(TimePoint now, const NameRecord& name, std::uint64_t hlc_ms);
  /// The membership's view of another node: alive or suspect with this incarnation and key. Repeats
  /// change nothing.
  void member_up(TimePoint now, const NodeId& id, std::uint64_t incarnation,
                 const NodePublicKey& key);
  /// Faulty or left: its facts leave lookups at once (masked), are kept 60 s for a comeback, then
  /// cleared.
  void member_down(TimePoint now, const NodeId& id);
  /// Every blob that the store held at the start was announced: what the last process had told and
  /// is not there is dropped. @pre called once, when AnnouncementsConfig::told was given
  void store_scanned(TimePoint now);
  /// The own incarnation was raised: (incarnation, seq) starts again, with BASE instead of the
  /// whole set.
  void set_incarnation(TimePoint now, std::uint64_t incarnation);
  /// The highest version that all live members speak: below relay_version announcements go by
  /// unicast.
  void set_version(std::uint8_t version) { version_ = version; }
  /// A member said how busy it is: 0 = idle, 255 = every upload slot busy.
  void member_load(TimePoint now, const NodeId& id, std::uint8_t load);
  /// An authenticated message of type "announcement". Cost O(records), about 100 us for each new
  /// name.
  void handle_message(TimePoint now, const NodeId& from, ByteView body);
  /// A bulk frame from an authenticated session. Cost O(index ids) for a set.
  void handle_bulk(TimePoint now, const NodeId& from, ByteView frame);
  void handle_timeout(TimePoint now);  ///< early or repeated calls change nothing

  // Outputs.
  [[nodiscard]] std::optional<AnnouncementMessage> poll_message();
  [[nodiscard]] std::optional<AnnouncementBulk> poll_bulk();
  /// What of the own log others are being told, to be persisted.
  [[nodiscard]] std::optional<LogTold> poll_told();
  [[nodiscard]] std::optional<TimePoint> poll_timeout() const;

  // Memory reads.
  /// Fills `out` with live holders other than self, each once, in random order with the less loaded
  /// ones earlier (gossip/holder_choice.hpp); how many there are in all. Allocates nothing; cost
  /// about a microsecond for 64 places, for a miss a tenth (D-145). @pre out.size() <=
  /// limits::lookup_holders_max
  [[nodiscard]] std::size_t lookup(TimePoint now, const Digest& digest, std::span<NodeId> out);
  /// Appends all live holders other than self, in random order; for operators.
  void holders(const Digest& digest, std::vector<NodeId>& out);
  /// Size when somebody (self included) announced it with its definition.
  [[nodiscard]] std::optional<std::uint64_t> content_size(const Digest& digest) const;
  [[nodiscard]] std::optional<NameRecord> find_name(std::uint64_t key64) const;
  /// True once a root equal to a peer's was seen.
  [[nodiscard]] bool matched_root() const { return matched_root_; }
  /// Over the live nodes (self included) of which at least one record is known (RootTable).
  [[nodiscard]] std::uint64_t root() const { return roots_.root(); }
  /// State of every live origin with records, ascending by id.
  [[nodiscard]] std::vector<OriginState> live_states() const;
  /// How own announcements leave now.
  [[nodiscard]] BroadcastMode spreading() const;
  [[nodiscard]] std::size_t digest_count() const { return index_.id_count(); }
  [[nodiscard]] std::size_t fact_count() const { return index_.fact_count(); }
  [[nodiscard]] std::size_t index_bytes() const { return index_.memory_bytes(); }
  [[nodiscard]] const AnnouncementStats& stats() const { return stats_; }
  /// How long announcements took from the append at their origin to the application here, without
  /// the flight: clocks are not compared, each sender adds how long it had the record. One count
  /// for the first record of each batch (it waited longest), of one batch in aged_batches_share
  /// while the origin sends much. A record that waited for a lost one, or was repaired from a log,
  /// counts with all that took, if the message that brought it said its age; what came as part of a
  /// whole set does not count, nor what is older than the acquaintance with its origin.
  [[nodiscard]] const LatencyHistogram& lag() const { return lag_; }
  void check_invariants() const;

 private:
  enum class Timer { flush, relay, repair, expire, sweep, snapshot, count };

  /// When a record was appended at its origin. Of an origin the next one that waits for its turn,
  /// else the last one that had it; of this node the first one that it has not told, else the first
  /// one of the last batch.
  struct Dated {
    std::uint64_t seq;
    TimePoint appended;
    bool done;  // counted, told
  };
  /// Facts of a former incarnation, kept until the new log has the same set or the time is over.
  /// Until the first record of the new log they stand under `slot`, afterwards under `old_slot`.
  struct Transition {
    Base former;
    std::uint64_t id_count = 0;
    TimePoint until;
  };
  /// An imported set that is whole once the records up to `until` were applied too.
  struct Replay {
    std::uint64_t until = 0;
    std::uint64_t facts_hash = 0;  // XOR of id_hash() of the facts in the index
    std::size_t id_count = 0;      // of them
  };
  struct Origin {
    NodePublicKey key;
    AnnouncementLog log;
    NodeSlot slot = 0;
    std::optional<NodeSlot> old_slot;
    std::unique_ptr<Transition> transition;
    std::optional<Dated> dated;
    TimePoint since;                      // when it came up last
    std::optional<TimePoint> clear_at;    // set while down
    std::optional<TimePoint> moved;       // when a record came in last
    std::optional<TimePoint> hole_since;  // a record after the next one is here
    std::uint64_t root_hash = 0;          // what it put into roots_
    bool live = true;
    bool whole = true;  // false once a fact was refused: its set is not given to others
    std::unique_ptr<Replay> replay;  // then it is not whole
  };
  using Origins = std::map<NodeId, Origin>;
  /// Slots whose facts go in one pass, and those of them that nobody has any more.
  struct Emptied {
    std::vector<NodeSlot> slots;
    std::vector<NodeSlot> freed;
  };
  struct Outgoing {
    std::optional<NodeId> to;
    std::shared_ptr<const Bytes> body;  // one body may go to everybody
  };
  /// What the own row has fresh, for the members outside it.
  struct RelayBatch {
    TimePoint began;
    std::vector<LogSlice> slices;  // with ages as of `began`
    std::size_t records = 0;
  };

  // announcements.cpp: the node itself, its members, time.
  void append_own(TimePoint now, LogRecord record);
  void open_told(const ToldLog& told);
  /// Says what a told id stands for; false when it told of another blob with the same id.
  bool confirm(Id64 id, const Definition& definition);
  void begin_transition(TimePoint now, const NodeId& id, Origin& origin, std::uint64_t incarnation);
  void end_transition(TimePoint now, Origin& origin);
  void end_transition(Origin& origin, Emptied& emptied);
  void mask(Origin& origin);
  void forget(const NodeId& id, Emptied& emptied);
  void empty(TimePoint now, const Emptied& emptied);
  void sweep(TimePoint now);
  void arm_expiry();
  void arm_sweep(std::optional<TimePoint> deadline);
  void drop_old_slot(Origin& origin, Emptied& emptied);
  /// Brings roots_ up to date with one origin.
  void note_state(const NodeId& id, Origin& origin);
  [[nodiscard]] NodeRef ref_of(Origins::const_iterator origin) const;
  [[nodiscard]] LogState wire_state(Origins::const_iterator origin) const;
  [[nodiscard]] Origins::iterator find(const NodeRef& ref);
  [[nodiscard]] std::size_t cluster_size() const { return plan_.member_count() + 1; }
  [[nodiscard]] Origin& self() { return origins_.at(config_.self); }

  // announcements_spread.cpp: what leaves, and when.
  void flush(TimePoint now);
  void arm_flush(TimePoint now, Duration delay);
  void note_told(std::uint64_t first, const std::vector<Record>& records);
  void relay(TimePoint now, std::uint32_t rows, LogSlice slice);
  void flush_relay(TimePoint now);
  void choose_spreading();
  [[nodiscard]] std::vector<NodeId> live_members() const;
  /// False (counted) when answers of about `bytes` would pass the repair rate.
  [[nodiscard]] bool may_answer(TimePoint now, std::size_t bytes);
  void send(std::span<const NodeId> to, const std::vector<Bytes>& bodies);
  void reply(const NodeId& to, Bytes body);
  void enqueue(std::deque<Outgoing>& queue, const std::optional<NodeId>& to,
               std::shared_ptr<const Bytes> body);
  void send_bulk(const NodeId& to, Bytes frame);
  [[nodiscard]] const std::deque<Outgoing>* next_queue() const;

  // announcements_repair.cpp: records, vectors, pulls, sets.
  void handle(TimePoint now, const NodeId& from, Records message);
  void handle(TimePoint now, const NodeId& from, const AeRoot& message);
  void handle(TimePoint now, const NodeId& from, const AeBuckets& message);
  void handle(TimePoint now, const NodeId& from, const AeStates& message);
  void handle(TimePoint now, const NodeId& from, const AePull& message);
  void handle(TimePoint now, const NodeId& from, const DefinitionPull& message);
  void handle(TimePoint now, const NodeId& from, const Definitions& message);
  void handle_bulk_message(TimePoint now, const NodeId& from, const SetPull& message);
  void handle_bulk_message(TimePoint now, const NodeId& from, SetData message);
  void handle_bulk_message(TimePoint now, const NodeId& from, const SetNone& message);
  void handle_bulk_message(TimePoint now, const NodeId& from, const DefinitionPull& message);
  void handle_bulk_message(TimePoint now, const NodeId& from, const Definitions& message);

  void take_slice(TimePoint now, const NodeId& from, Origins::iterator found,
                  const LogSlice& slice);
  static void note_age(TimePoint now, Origin& origin, const LogSlice& slice);
  void count_lag(TimePoint now, Origin& origin);
  /// False when the record cannot be applied: a BASE that does not fit.
  [[nodiscard]] bool apply(TimePoint now, const NodeId& id, Origin& origin, const Record& record,
                           std::vector<Id64>& unresolved);
  void apply_parked(TimePoint now, const NodeId& id, Origin& origin, std::vector<Id64>& unresolved);
  void apply_have(Origin& origin, Id64 id, const Definition* definition,
                  std::vector<Id64>& unresolved);
  void accept_name(const Origin& origin, const std::shared_ptr<const SignedName>& name);
  void open_new_slot(TimePoint now, const NodeId& id, Origin& origin);
  void settle(TimePoint now, Origin& origin);
  void install_set(TimePoint now, const NodeId& from, const SetData& set);
  void serve_set(const NodeId& to, const NodeId& id, const Origin& origin, std::vector<Id64> ids);
  /// Sends what the peer's log lacks; false when it needs more than our log has.
  bool push_records(TimePoint now, const NodeId& to, Origins::const_iterator found,
                    std::uint64_t their_seq);
  void send_states(const NodeId& to, std::uint32_t from, std::uint32_t last);
  [[nodiscard]] static bool in_motion(TimePoint now, const Origin& origin);
  void take_definitions(const Definitions& message);
  void request_sets(TimePoint now, const NodeId& peer, const std::vector<NodeId>& origins);
  void request_definitions(const NodeId& peer, const std::vector<Id64>& ids);
  void repair_with(TimePoint now, const NodeId& peer);
  void repair_with_random(TimePoint now);
  void note_answer(TimePoint now, const NodeId& from);
  void hurry_repair(TimePoint now);
  [[nodiscard]] static OriginState state_of(const NodeId& id, const Origin& origin);
  [[nodiscard]] LogSlice slice_from(TimePoint now, Origins::const_iterator found,
                                    std::uint64_t from_seq) const;

  // announcements_snapshot.cpp: giving and importing snapshots.
  void handle_bulk_message(TimePoint now, const NodeId& from, const SnapshotPull& message);
  void handle_bulk_message(TimePoint now, const NodeId& from, const SnapshotPart& message);
  void handle_bulk_message(TimePoint now, const NodeId& from, const SnapshotNone& message);
  [[nodiscard]] std::vector<SnapshotOrigin> snapshot_table(std::vector<std::uint16_t>& rows) const;
  void fill_part(SnapshotPart& part, const std::vector<std::uint16_t>& rows) const;
  /// True when the sets that `peer` has come by a snapshot, or may do so. @param listed, unknown
  /// states that the peer told, and how many of them were of members not known yet
  [[nodiscard]] bool import_instead(TimePoint now, const NodeId& peer,
                                    const std::vector<NodeId>& sets, std::size_t listed,
                                    std::size_t unknown);
  [[nodiscard]] bool is_importing(const NodeId& id) const { return import_ && import_->has(id); }
  [[nodiscard]] std::vector<std::optional<SnapshotImport::Match>> matches_of(
      const SnapshotPart& part);
  void take_contents(const SnapshotPart& part, SnapshotImport::Verdict& verdict);
  /// Asks what is due, or gives up.
  void drive_import(TimePoint now);
  void ask_another(TimePoint now);
  void leave_import(TimePoint now, const NodeId& id);
  void clear_left();
  void finish_import(TimePoint now);
  void install_column(TimePoint now, const SnapshotImport::Column& column);
  void note_replayed(Origin& origin, Id64 id, bool added);
  void end_replay(Origin& origin);

  AnnouncementsConfig config_;
  const Identity& identity_;
  Prng prng_;
  TimePoint started_;
  NodeSlots slots_;
  ContentIndex index_;
  NameTable names_;
  LogBudget log_budget_;  // of the logs in origins_
  Origins origins_;       // self included
  RootTable roots_;
  RelayPlan plan_;  // over the live ones
  SendBudget budget_;
  std::size_t old_slot_count_ = 0;
  AntiEntropy anti_entropy_;
  TimerTable<Timer> timers_;
  std::set<Id64> unresolved_;        // ids to ask definitions for
  Id64 unresolved_asked_{};          // the last one asked for: the next round starts behind it
  std::optional<NodeId> pull_more_;  // has sets that found no room among the pulls
  std::set<Id64> unconfirmed_;       // told by the last process, not seen in the store yet
  std::deque<LogTold> told_;
  std::uint64_t flushed_seq_ = 0;
  TimePoint last_flush_;
  std::optional<TimePoint> last_repair_;
  std::optional<NodeId> asked_;  // whose answer to the last root is awaited
  bool matched_root_ = false;
  bool relaying_ = false;  // in automatic mode
  std::uint8_t version_ = relay_version;
  std::map<std::uint32_t, RelayBatch> relay_;  // by rows
  TimePoint last_relay_;
  TimePoint now_;              // of the last input
  std::deque<Outgoing> news_;  // what this node has to say, before
  std::deque<Outgoing> replies_;
  std::deque<AnnouncementBulk> bulk_;
  std::size_t bulk_bytes_ = 0;
  TokenBucket repair_bytes_;
  TokenBucket set_pulls_;
  TokenBucket snapshot_parts_;
  std::unique_ptr<SnapshotImport> import_;
  TimePoint import_after_;  // the last one failed
  AnnouncementStats stats_;
  LatencyHistogram lag_;
};

}  // namespace waggle::gossip
