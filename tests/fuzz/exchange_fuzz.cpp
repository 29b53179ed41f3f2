// A whole exchange among hostile members: control messages, claims and payload of any kind, while
// its driver answers commands in any order and with any outcome that it may have.
#include "../unit/gossip/samples.hpp"
#include "base/limits.hpp"
#include "target.hpp"
#include "transfer/claim_wire.hpp"
#include "transfer/exchange.hpp"
#include "transfer/session_message.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <set>

namespace waggle::fuzz {
namespace {

using namespace waggle::transfer;
using namespace std::chrono_literals;

constexpr std::size_t steps_max = 128;
constexpr std::size_t outputs_max = 20'000;
constexpr std::uint64_t true_size = 20 * limits::MiB;

/// Node 1 is the exchange's own; making an identity costs more than most inputs.
const NodeId& id_of(unsigned n) {
  static const std::vector<NodeId> ids = {gossip::test::id_of(0), gossip::test::id_of(1),
                                          gossip::test::id_of(2), gossip::test::id_of(3),
                                          gossip::test::id_of(4)};
  return ids.at(n);
}

const SwarmKey& wanted_key() {
  static const SwarmKey key{sha256_of(as_bytes("wanted")), "https://r:443"};
  return key;
}
const SwarmKey& held_key() {
  static const SwarmKey key{sha256_of(as_bytes("held")), "https://r:443"};
  return key;
}

struct View final : ClusterView {
  std::vector<NodeId> members;
  bool peers_hold = false;
  bool size_announced = false;
  View() {
    for (unsigned n = 1; n <= 4; ++n) members.push_back(id_of(n));
    std::sort(members.begin(), members.end());
  }
  std::span<const NodeId> registrar_candidates() const override { return members; }
  bool is_live(const NodeId&) const override { return true; }
  std::size_t holders(const Digest&, std::span<NodeId> out) override {
    if (!peers_hold) return 0;
    if (!out.empty()) out[0] = id_of(2);
    return 1;
  }
  std::optional<std::uint64_t> announced_size(const Digest&) const override {
    return size_announced ? std::optional(true_size) : std::nullopt;
  }
  bool index_ready() const override { return true; }
};

/// The exchange and its driver, which keeps the contract of every command.
class World {
 public:
  World() : exchange_({}, identity(), view_, now_) {
    exchange_.members_changed(now_);
    exchange_.blob_available(now_, held_key().digest, true_size);
    for (unsigned n = 2; n <= 4; ++n) open_session(n);
    pump();
  }

  void step(Input& input) {
    const unsigned kind = input.byte();
    const unsigned choice = input.byte();
    switch (kind % 10) {
      case 0:
      case 1:
        exchange_.handle_control(now_, session(choice), input.string());
        break;
      case 2:
        exchange_.handle_claim(now_, id_of(2 + choice % 3), input.string());
        break;
      case 3:
        receive_block(choice, input);
        break;
      case 4:
      case 5:
        answer(choice, input.byte());
        break;
      case 6:
        fetch_goes_on(choice, input.byte());
        break;
      case 7:
        now_ += std::chrono::milliseconds(choice * 8);
        exchange_.handle_timeout(now_);
        break;
      case 8:
        read(choice);
        break;
      default:
        change_cluster(choice);
    }
    pump();
    exchange_.check_invariants();
  }

 private:
  struct Fetch {
    StartFetch start;
    bool head = false;
    std::uint64_t next = 0;  // byte within the blob
    std::uint64_t received = 0;
  };
  static const Identity& identity() {
    static const Identity own = gossip::test::identity_of(1);
    return own;
  }
  [[nodiscard]] SessionId session(unsigned choice) const {
    auto it = sessions_.begin();
    std::advance(it, sessions_.empty() ? 0 : choice % sessions_.size());
    return it == sessions_.end() ? SessionId{0} : it->first;
  }

  void open_session(unsigned n) {
    const SessionId id{++last_session_};
    sessions_[id] = id_of(n);
    exchange_.session_opened(now_, id, id_of(n));
  }

  void receive_block(unsigned choice, Input& input) {
    const ChunkIndex chunk{input.byte() % 2 == 0 ? input.byte() : input.integer<std::uint32_t>()};
    const auto offset = input.integer<std::uint32_t>();
    const auto length =
        std::min<std::uint32_t>(input.integer<std::uint32_t>(), limits::payload_bytes_max);
    const SwarmTag tag = choice % 16 == 0 ? held_key().tag() : wanted_key().tag();
    (void)exchange_.block_received(now_, session(choice), {tag, chunk, offset, length});
  }

  /// Readers come, move on and leave.
  void read(unsigned choice) {
    if (!swarm_ || choice % 4 == 0) {
      swarm_ = exchange_.open(now_, wanted_key(),
                              choice % 8 == 0 ? std::optional(true_size) : std::nullopt);
      if (swarm_) exchange_.add_reader(now_, *swarm_, ReaderId{++last_reader_}, choice * 4096);
    } else if (choice % 4 == 1) {
      exchange_.remove_reader(now_, *swarm_, ReaderId{last_reader_});
    } else {
      exchange_.move_reader(now_, *swarm_, ReaderId{last_reader_}, choice * limits::MiB / 8);
    }
  }

  void change_cluster(unsigned choice) {
    switch (choice % 5) {
      case 0:
        view_.peers_hold = !view_.peers_hold;
        break;
      case 1:
        view_.size_announced = !view_.size_announced;
        break;
      case 2:
        exchange_.member_gone(now_, id_of(2 + choice % 3));
        break;
      case 3:
        if (sessions_.empty()) break;
        close(session(choice));
        break;
      default:
        if (sessions_.size() < 6) open_session(2 + choice % 3);
    }
  }

  void close(SessionId id) {
    if (sessions_.erase(id) > 0) exchange_.session_closed(now_, id);
  }

  // --- the driver --------------------------------------------------------------------------------

  void pump() {
    std::size_t outputs = 0;
    while (auto output = exchange_.poll_output()) {
      expect(++outputs <= outputs_max, "one step has a bounded outcome");
      if (const auto* start = std::get_if<StartFetch>(&*output)) {
        fetches_[start->fetch] = {*start, false, start->offset};
      } else if (const auto* blob = std::get_if<CreateBlob>(&*output)) {
        sizes_[blob->swarm] = blob->size;
        pending_.push_back(std::move(*output));
      } else if (const auto* done = std::get_if<CloseBlob>(&*output)) {
        open_.erase(done->swarm);
        sizes_.erase(done->swarm);
      } else if (const auto* send = std::get_if<SendControl>(&*output)) {
        expect(sessions_.contains(send->session), "messages go to sessions that are up");
        expect(decode_session_message(send->message).has_value(), "what is sent decodes");
      } else if (const auto* claim = std::get_if<SendClaim>(&*output)) {
        expect(decode_claim(claim->payload).has_value(), "claims that are sent decode");
      } else if (const auto* block = std::get_if<SendBlock>(&*output)) {
        expect(block->length >= 1 && block->length <= limits::block_bytes, "a block is one");
        expect(block->digest == held_key().digest || block->swarm, "it is of something held");
      } else if (const auto* committed = std::get_if<SwarmCommitted>(&*output)) {
        expect(commits_.contains(committed->swarm), "what is committed was written");
      } else {
        pending_.push_back(std::move(*output));
      }
    }
    expect(pending_.size() <= outputs_max, "commands under way are bounded");
  }

  /// Carries out the oldest commands first; `outcome` decides how.
  void answer(unsigned count, unsigned outcome) {
    for (unsigned i = 0; i <= count % 4 && !pending_.empty(); ++i) {
      const ExchangeOutput command = std::move(pending_.front());
      pending_.pop_front();
      std::visit([&](const auto& item) { carry_out(item, outcome); }, command);
      pump();
    }
  }

  void carry_out(const EnsureSession& dial, unsigned outcome) {
    if (outcome % 4 == 0) return exchange_.dial_failed(now_, dial.node);
    for (unsigned n = 2; n <= 4; ++n) {
      if (id_of(n) == dial.node) open_session(n);
    }
  }
  void carry_out(const CloseSession& item, unsigned) { close(item.session); }
  void carry_out(const CreateBlob& create, unsigned outcome) {
    if (!sizes_.contains(create.swarm)) return;
    std::optional<std::vector<StoredChunk>> held;
    if (outcome % 8 != 0) {
      held.emplace();
      open_.insert(create.swarm);
    }
    if (outcome % 8 == 1) held->push_back({ChunkIndex{0}, {}});
    exchange_.blob_opened(now_, create.swarm, std::move(held));
  }
  void carry_out(const VerifyChunk& verify, unsigned outcome) {
    const auto verdict = outcome % 8 == 0   ? ChunkVerdict::store_failed
                         : outcome % 2 == 0 ? ChunkVerdict::mismatch
                                            : ChunkVerdict::ok;
    exchange_.chunk_verified(now_, verify.swarm, verify.chunk, verify.source, verdict);
  }
  void carry_out(const CancelFetch& cancel, unsigned) {
    if (fetches_.erase(cancel.fetch) == 0) return;
    exchange_.fetch_ended(now_, cancel.fetch, {FetchEnd::Kind::canceled, {}});
  }
  void carry_out(const HashLink& hash, unsigned outcome) {
    const auto size = sizes_.find(hash.swarm);
    const bool last =
        size != sizes_.end() && to_value(hash.chunk) + 1 == BlobLayout(size->second).chunk_count();
    std::optional<Midstate> end;
    std::optional<Digest> digest;
    if (outcome % 8 != 0 && size != sizes_.end()) {
      if (!last) end.emplace();
      if (last) digest = outcome % 2 == 0 ? held_key().digest : wanted_key().digest;
    }
    exchange_.link_hashed(now_, hash.swarm, hash.chunk, end, digest);
  }
  void carry_out(const CommitBlob& commit, unsigned outcome) {
    const bool ok = outcome % 4 != 0;
    if (ok) commits_.insert(commit.swarm);
    exchange_.blob_committed(now_, commit.swarm, ok);
  }
  void carry_out(const LoadMidstates& load, unsigned outcome) {
    std::optional<std::vector<Midstate>> list;
    if (outcome % 4 != 0) list.emplace(BlobLayout(true_size).chunk_count() - 1);
    exchange_.midstates_loaded(now_, load.digest, std::move(list));
  }
  /// Events for readers and orders without an answer.
  template <typename Other>
  void carry_out(const Other&, unsigned) {}

  /// One fetch comes one piece further: its head, a chunk, or its end.
  void fetch_goes_on(unsigned choice, unsigned outcome) {
    if (fetches_.empty()) return;
    auto it = fetches_.begin();
    std::advance(it, choice % fetches_.size());
    Fetch& fetch = it->second;
    const FetchId id = it->first;
    if (!fetch.head && outcome % 8 != 0) {
      fetch.head = true;
      const unsigned statuses[] = {206, 206, 206, 200, 404, 401, 503, 206};
      const unsigned status = statuses[outcome % 8];
      std::optional<std::uint64_t> total = true_size;
      if (outcome % 16 == 9) total = std::nullopt;
      if (outcome % 16 == 10) total = std::uint64_t{outcome} << (choice % 40U);
      if (status == 200) fetch.next = 0;
      exchange_.fetch_head(now_, id, {status, total, status == 200});
      return;
    }
    if (outcome % 4 != 0 && next_chunk(id, fetch, outcome)) return;
    fetches_.erase(it);
    constexpr FetchEnd::Kind kinds[] = {FetchEnd::Kind::complete, FetchEnd::Kind::failed,
                                        FetchEnd::Kind::throttled, FetchEnd::Kind::not_found};
    exchange_.fetch_ended(now_, id, {kinds[outcome / 4 % 4], std::nullopt});
  }

  bool next_chunk(FetchId id, Fetch& fetch, unsigned outcome) {
    const SwarmId swarm = fetch.start.swarm;
    const auto size = sizes_.find(swarm);
    if (!open_.contains(swarm) || size == sizes_.end() || fetch.next >= size->second) return false;
    const BlobLayout layout(size->second);
    const ChunkIndex chunk = layout.chunk_at(fetch.next);
    if (layout.chunk_offset(chunk) != fetch.next) return false;
    fetch.next += layout.chunk_size(chunk);
    fetch.received += layout.chunk_size(chunk);
    exchange_.fetch_progress(now_, id, fetch.received);
    const auto verdict = outcome % 16 == 1 ? ChunkVerdict::store_failed : ChunkVerdict::ok;
    (void)exchange_.make_crec(swarm, chunk, {});
    exchange_.fetch_chunk(now_, id, chunk, {}, verdict);
    return true;
  }

  TimePoint now_{1000s};
  View view_;
  Exchange exchange_;
  std::optional<SwarmId> swarm_;
  std::uint64_t last_session_ = 0;
  std::uint64_t last_reader_ = 0;
  std::map<SessionId, NodeId> sessions_;
  std::deque<ExchangeOutput> pending_;
  std::map<FetchId, Fetch> fetches_;
  std::map<SwarmId, std::uint64_t> sizes_;
  std::set<SwarmId> open_;
  std::set<SwarmId> commits_;
};

void run(ByteView bytes) {
  World world;
  Input input(bytes);
  for (std::size_t step = 0; step < steps_max && !input.empty(); ++step) world.step(input);
}

class Story {
 public:
  Story& plain(std::uint8_t kind, std::uint8_t choice) {
    out_.push_back(std::byte{kind});
    out_.push_back(std::byte{choice});
    return *this;
  }
  Story& plain(std::uint8_t kind, std::uint8_t choice, std::uint8_t outcome) {
    plain(kind, choice).out_.push_back(std::byte{outcome});
    return *this;
  }
  Story& tell(std::uint8_t session, const SessionMessage& message) {
    append_string(plain(0, session).out_, encode(message));
    return *this;
  }
  Story& claim(std::uint8_t from, const ClaimBody& body) {
    append_string(plain(2, from).out_, encode_claim({wanted_key().tag(), body}));
    return *this;
  }
  Story& block(std::uint8_t session, std::uint8_t chunk, std::uint32_t offset) {
    plain(3, session, 0).out_.push_back(std::byte{chunk});
    append_le(out_, offset);
    append_le(out_, std::uint32_t{65'536});
    return *this;
  }
  [[nodiscard]] Bytes bytes() const { return out_; }

 private:
  Bytes out_;
};

std::vector<Bytes> seeds() {
  const SwarmKey& key = wanted_key();
  const HaveMap all{.all = true, .chunks = {}};
  Story served;
  served.tell(0, OpenMessage{held_key().tag(), held_key().digest, held_key().origin, {}, {}});
  served.tell(0, RequestMessage{held_key().tag(), ChunkIndex{1}, 0, 65'536, false});
  served.tell(0, GetMidstatesMessage{held_key().tag()}).plain(4, 3, 1).plain(7, 100);
  served.tell(0, CloseMessage{held_key().tag()});
  Story from_peer;
  from_peer.plain(9, 0).plain(9, 1).plain(8, 4).plain(4, 3, 2).plain(7, 20);
  from_peer.tell(0, StateMessage{key.tag(), true_size, all});
  from_peer.tell(1, OpenMessage{key.tag(), key.digest, key.origin, true_size, all});
  from_peer.tell(0, CrecMessage{key.tag(), ChunkIndex{0}, true_size, {}, {}, {}});
  for (std::uint8_t i = 0; i < 4; ++i) from_peer.block(0, 0, i * 65'536U);
  from_peer.plain(4, 3, 1).plain(4, 3, 1).plain(7, 255);
  from_peer.tell(0, RejectMessage{key.tag(), ChunkIndex{1}, RejectReason::no_proof});
  from_peer.tell(0, BusyMessage{key.tag(), 250}).plain(7, 100).plain(8, 1).plain(7, 255);
  Story from_upstream;
  from_upstream.plain(8, 4).plain(4, 3, 1).plain(7, 10);
  from_upstream.claim(0, GrantMessage{1, {{ExtentIndex{0}, 1}}});
  from_upstream.claim(1, VoteMessage{1, {{{ExtentIndex{0}, 1}, true}}});
  from_upstream.claim(2, NewsMessage{1, true_size, {hop_name(id_of(3))}, {id_of(4)}}).plain(7, 255);
  for (int i = 0; i < 12; ++i) from_upstream.plain(6, 0, 1).plain(4, 3, 1).plain(7, 20);
  from_upstream.plain(6, 0, 0).plain(4, 3, 1);
  Story registrar;
  registrar.claim(0, WantMessage{1, 1, 0, true_size, {}, {{ExtentIndex{0}, 1}}});
  registrar.claim(0, ClaimMessage{2, 1, 0, 2, false});
  registrar.claim(1, ConfirmMessage{2, 1, {{ExtentIndex{1}, 1}}});
  registrar.claim(0, ProgressMessage{1, true_size, false, {{{ExtentIndex{0}, 1}, 100}}});
  registrar.claim(0, ReleaseMessage{1, {ExtentIndex{0}}, ReleaseMessage::Reason::done});
  registrar.plain(7, 255).claim(0, UnwantMessage{1, true}).plain(9, 2);
  return {served.bytes(), from_peer.bytes(), from_upstream.bytes(), registrar.bytes()};
}

const Target target("exchange", &run, &seeds);

}  // namespace
}  // namespace waggle::fuzz
