// What arrives: records, vectors, pulls and sets; and the repair rounds. The node's own side is
// announcements.cpp.
#include "gossip/announcements.hpp"

#include "base/limits.hpp"

#include <algorithm>
#include <utility>

namespace waggle::gossip {
namespace {

// What an answer costs per entry, for the repair rate.
constexpr std::size_t state_bytes = 13;
constexpr std::size_t definition_bytes = 44;
/// One difference in so many members is a loss now and then; more are worth the next question soon.
constexpr std::size_t few_differences_share = 16;

}  // namespace

void Announcements::handle_message(TimePoint now, const NodeId& from, ByteView body) {
  now_ = now;
  if (from == config_.self || !origins_.contains(from)) {
    ++stats_.unknown_sender;
    return;
  }
  auto message = decode_message(body);
  if (!message) {
    ++stats_.malformed;
    return;
  }
  std::visit([&](auto& m) { handle(now, from, std::move(m)); }, *message);
}

void Announcements::handle_bulk(TimePoint now, const NodeId& from, ByteView frame) {
  now_ = now;
  if (from == config_.self || !origins_.contains(from)) {
    ++stats_.unknown_sender;
    return;
  }
  auto message = decode_bulk(frame);
  if (!message) {
    ++stats_.malformed;
    return;
  }
  std::visit([&](auto& m) { handle_bulk_message(now, from, std::move(m)); }, *message);
}

// ---- records ----

void Announcements::handle(TimePoint now, const NodeId& from, Records message) {
  const bool for_relay = message.rows != 0 && plan_.shares_row(from, message.rows);
  for (LogSlice& slice : message.logs) {
    const auto found = find(slice.origin);
    if (found != origins_.end() && found->first == config_.self && found->first != from &&
        low_bits(found->second.log.incarnation()) == slice.incarnation) {
      continue;  // the row tells it to everybody
    }
    if (found == origins_.end() || found->first == config_.self ||
        low_bits(found->second.log.incarnation()) != slice.incarnation) {
      ++stats_.refused_records;
      continue;
    }
    // Records of what is being imported come again by anti-entropy.
    if (!is_importing(found->first)) take_slice(now, from, found, slice);
    note_state(found->first, found->second);
    // Also what is known already: an origin says it once, and others may not have it.
    if (for_relay && found->first == from) {
      slice.origin = ref_of(found);
      relay(now, message.rows, std::move(slice));
    }
  }
}

void Announcements::take_slice(TimePoint now, const NodeId& from, Origins::iterator found,
                               const LogSlice& slice) {
  Origin& origin = found->second;
  std::vector<Id64> unresolved;
  bool hole = false;
  note_age(now, origin, slice);
  for (std::size_t i = 0; i < slice.records.size(); ++i) {
    const std::uint64_t seq = slice.first_seq + i;
    switch (origin.log.order_of(seq)) {
      case AnnouncementLog::Order::duplicate:
        break;
      case AnnouncementLog::Order::next:
        if (!apply(now, found->first, origin, slice.records[i], unresolved)) {
          request_sets(now, from, {found->first});
          return;
        }
        origin.moved = now;
        apply_parked(now, found->first, origin, unresolved);
        break;
      case AnnouncementLog::Order::early:
        origin.log.park(seq, slice.records[i]);
        origin.moved = now;
        hole = true;
        break;
      case AnnouncementLog::Order::gap:
        ++stats_.gaps;
        hole = true;
        break;
    }
  }
  count_lag(now, origin);
  if (origin.log.parked_count() == 0 && !hole) {
    origin.hole_since.reset();
  } else if (!origin.hole_since) {
    origin.hole_since = now;
  }
  // The origin itself is asked at once for what a lost datagram carried; all else waits for
  // anti-entropy.
  if (hole && from == found->first) {
    reply(from, encode(AePull{
                    {{ref_of(found), low_bits(origin.log.incarnation()), origin.log.seq() + 1}}}));
  }
  request_definitions(from, unresolved);
}

void Announcements::note_age(TimePoint now, Origin& origin, const LogSlice& slice) {
  const bool is_new = slice.age && slice.first_seq > origin.log.seq();
  const bool waits = origin.dated && !origin.dated->done;
  if (is_new && !waits) origin.dated = Dated{slice.first_seq, now - *slice.age, false};
}

void Announcements::count_lag(TimePoint now, Origin& origin) {
  if (!origin.dated || origin.dated->done || origin.dated->seq > origin.log.seq()) return;
  origin.dated->done = true;
  if (origin.dated->appended >= origin.since) lag_.observe(now - origin.dated->appended);
}

bool Announcements::apply(TimePoint now, const NodeId& id, Origin& origin, const Record& record,
                          std::vector<Id64>& unresolved) {
  if (const auto* base = std::get_if<Base>(&record)) {
    if (!origin.transition || origin.old_slot || origin.log.seq() != 0 ||
        origin.transition->former != *base) {
      return false;
    }
    origin.log.open_with(*base, origin.transition->id_count);
    origin.transition.reset();
    return true;
  }
  open_new_slot(now, id, origin);
  if (const auto* have = std::get_if<Have>(&record)) {
    apply_have(origin, have->id, nullptr, unresolved);
  } else if (const auto* defined = std::get_if<DefinedHave>(&record)) {
    apply_have(origin, id64_of(config_.id_key, defined->definition.digest), &defined->definition,
               unresolved);
  } else if (const auto* drop = std::get_if<Drop>(&record)) {
    const bool held = index_.remove(drop->id, origin.slot);
    if (held) note_replayed(origin, drop->id, false);
    origin.log.append({LogRecord::Kind::drop, drop->id, nullptr}, held || !origin.whole);
  } else {
    auto name = std::make_shared<SignedName>(*std::get<Named>(record).name);
    name->author = id;  // whose log it stands in
    accept_name(origin, name);
    origin.log.append({LogRecord::Kind::name, Id64{}, name}, false);
  }
  end_replay(origin);
  settle(now, origin);
  return true;
}

void Announcements::apply_have(Origin& origin, Id64 id, const Definition* definition,
                               std::vector<Id64>& unresolved) {
  const bool held = index_.holds(id, origin.slot);
  const bool full = !held && origin.log.id_count() >= limits::ids_per_origin_max;
  const auto change =
      full ? ContentIndex::Change::refused : index_.add(id, origin.slot, definition, false);
  if (change == ContentIndex::Change::refused) {
    ++stats_.refused_facts;
    origin.whole = origin.whole && held;
    origin.replay.reset();
  } else if (index_.is_unresolved(id)) {
    unresolved.push_back(id);
    if (unresolved_.size() < limits::unresolved_ids_max) unresolved_.insert(id);
  } else if (definition != nullptr) {
    unresolved_.erase(id);
  }
  if (change == ContentIndex::Change::added && !held) note_replayed(origin, id, true);
  const auto kind = definition != nullptr ? LogRecord::Kind::defined_have : LogRecord::Kind::have;
  origin.log.append({kind, id, nullptr}, !held || !origin.whole);
}

void Announcements::apply_parked(TimePoint now, const NodeId& id, Origin& origin,
                                 std::vector<Id64>& unresolved) {
  while (const auto parked = origin.log.take_parked()) {
    if (!apply(now, id, origin, *parked, unresolved)) return;
  }
}

void Announcements::accept_name(const Origin& origin,
                                const std::shared_ptr<const SignedName>& name) {
  if (!names_.is_newer(*name)) return;
  if (!verify_signature(origin.key, name_signed_bytes(config_.id_key, *name), name->signature)) {
    ++stats_.refused_names;
    return;
  }
  names_.insert(name);
}

void Announcements::open_new_slot(TimePoint now, const NodeId& id, Origin& origin) {
  if (!origin.transition || origin.old_slot) return;
  origin.whole = true;
  const auto slot = slots_.allocate(now, id);
  if (!slot) {  // no number left to keep the old facts under
    index_.clear(origin.slot);
    origin.transition.reset();
    return;
  }
  origin.old_slot = origin.slot;
  origin.slot = *slot;
  slots_.pair(*origin.old_slot, origin.slot);
  ++old_slot_count_;
  mask(origin);
}

void Announcements::settle(TimePoint now, Origin& origin) {
  if (!origin.transition || origin.log.id_count() != origin.transition->id_count ||
      origin.log.set_hash() != origin.transition->former.set_hash) {
    return;
  }
  end_transition(now, origin);
}

// ---- anti-entropy ----

void Announcements::repair_with(TimePoint now, const NodeId& peer) {
  last_repair_ = now;
  asked_ = peer;
  const bool joining = !matched_root_ && now - started_ < join_time;
  timers_.arm(Timer::repair, now + (joining ? join_repair_interval : repair_retry_interval));
  enqueue(news_, peer, std::make_shared<const Bytes>(encode(AeRoot{root(), false})));
  // What ids stand for is asked in turn, so that those nobody can explain do not hold up the
  // others.
  std::vector<Id64> ids;
  auto at = unresolved_.upper_bound(unresolved_asked_);
  while (!unresolved_.empty() && ids.size() < limits::definitions_per_message_max) {
    if (at == unresolved_.end()) at = unresolved_.begin();
    if (!ids.empty() && *at == ids.front()) break;
    unresolved_asked_ = *at;
    if (index_.is_unresolved(*at)) {
      ids.push_back(*at++);
    } else {
      at = unresolved_.erase(at);
    }
  }
  request_definitions(peer, ids);
}

void Announcements::note_answer(TimePoint now, const NodeId& from) {
  if (asked_ != from) return;
  asked_.reset();
  const bool joining = !matched_root_ && now - started_ < join_time;
  if (joining) return;
  const bool large = cluster_size() > SendBudget::large_cluster;
  timers_.arm(Timer::repair, *last_repair_ + (large ? repair_interval_large : repair_interval));
}

void Announcements::hurry_repair(TimePoint now) {
  if (!last_repair_) return;
  const TimePoint soon = std::max(now, *last_repair_ + repair_retry_interval);
  const auto armed = timers_.deadline(Timer::repair);
  if (!armed || *armed > soon) timers_.arm(Timer::repair, soon);
}

void Announcements::repair_with_random(TimePoint now) {
  if (plan_.member_count() == 0) {
    asked_.reset();
    last_repair_.reset();  // whoever comes up next is asked at once
    return;
  }
  repair_with(now, plan_.member(prng_.below(plan_.member_count())));
}

void Announcements::handle(TimePoint now, const NodeId& from, const AeRoot& message) {
  if (message.answer) note_answer(now, from);
  if (root() == message.root) {
    matched_root_ = true;
    if (!message.answer) reply(from, encode(AeRoot{message.root, true}));
    return;
  }
  if (message.answer) return;
  if (cluster_size() > limits::states_without_buckets_max && version_ >= relay_version) {
    if (may_answer(now, index_buckets * sizeof(std::uint64_t))) {
      reply(from, encode(AeBuckets{roots_.buckets()}));
    }
  } else if (may_answer(now, origins_.size() * state_bytes)) {
    send_states(from, 0, UINT32_MAX);
  }
}

void Announcements::handle(TimePoint now, const NodeId& from, const AeBuckets& message) {
  note_answer(now, from);
  const auto& mine = roots_.buckets();
  for (std::size_t first = 0; first < index_buckets; ++first) {
    if (mine[first] == message.hashes[first]) continue;
    std::size_t last = first;
    while (last + 1 < index_buckets && mine[last + 1] != message.hashes[last + 1]) ++last;
    const auto [from_prefix, to_prefix] = RootTable::range_of(first, last);
    if (!may_answer(now, origins_.size() * state_bytes * (last - first + 1) / index_buckets))
      return;
    send_states(from, from_prefix, to_prefix);
    first = last;
  }
}

void Announcements::send_states(const NodeId& to, std::uint32_t from, std::uint32_t last) {
  std::vector<LogState> states;
  for (auto it = origins_.lower_bound(NodeRef::lowest(from));
       it != origins_.end() && NodeRef::prefix_of(it->first) <= last; ++it) {
    if (!it->second.live || it->second.log.seq() == 0) continue;
    states.push_back(wire_state(it));
  }
  for (auto& body : pack_full_states(states, from, last, config_.message_bytes_max)) {
    reply(to, std::move(body));
  }
}

bool Announcements::in_motion(TimePoint now, const Origin& origin) {
  if (!origin.moved || now - *origin.moved >= motion_time) return false;
  return !origin.hole_since || now - *origin.hole_since < hole_time;
}

void Announcements::handle(TimePoint now, const NodeId& from, const AeStates& message) {
  if (!may_answer(now, config_.message_bytes_max)) return;
  std::vector<LogState> ahead;
  std::vector<NodeId> sets;
  AePull pull;
  const auto consider = [&](Origins::iterator found, const LogState& theirs) {
    Origin& origin = found->second;
    if (in_motion(now, origin) || is_importing(found->first)) return;
    const OriginState mine = state_of(found->first, origin);
    switch (compare(mine, theirs, config_.self, from)) {
      case Repair::none:
        break;
      case Repair::peer_behind:
        if (!origin.live || !message.full) break;
        if (!push_records(now, from, found, theirs.seq)) {
          ahead.push_back(wire_state(found));
        }
        break;
      case Repair::pull_records:
        pull.ranges.push_back({theirs.origin, theirs.incarnation, mine.seq + 1});
        break;
      case Repair::pull_set:
        sets.push_back(mine.origin);
        break;
    }
  };
  std::size_t unknown = 0;
  for (const LogState& theirs : message.states) {
    const auto found = find(theirs.origin);
    if (found == origins_.end()) {
      ++unknown;
    } else {
      consider(found, theirs);
    }
  }
  if (message.full) {
    note_answer(now, from);
    // What the peer did not list in the range that this part covers, it does not know.
    auto next = message.states.begin();
    for (auto it = origins_.lower_bound(NodeRef::lowest(message.from));
         it != origins_.end() && NodeRef::prefix_of(it->first) <= message.to; ++it) {
      const std::uint32_t prefix = NodeRef::prefix_of(it->first);
      while (next != message.states.end() && next->origin.prefix() < prefix) ++next;
      const bool is_listed = next != message.states.end() && next->origin.prefix() == prefix;
      if (!is_listed && it->second.log.seq() > 0) consider(it, LogState{ref_of(it), 0, 0, 0, 0});
    }
  }
  std::sort(ahead.begin(), ahead.end());
  for (auto& body : pack_some_states(ahead, config_.message_bytes_max))
    reply(from, std::move(body));
  for (auto& body : pack_pulls(pull.ranges, config_.message_bytes_max))
    reply(from, std::move(body));
  if (!import_instead(now, from, sets, message.states.size(), unknown)) {
    request_sets(now, from, sets);
  }
  const std::size_t found = ahead.size() + pull.ranges.size() + sets.size();
  if (found * few_differences_share >= std::max(cluster_size(), few_differences_share)) {
    hurry_repair(now);
  }
}

bool Announcements::push_records(TimePoint now, const NodeId& to, Origins::const_iterator found,
                                 std::uint64_t their_seq) {
  const AnnouncementLog& log = found->second.log;
  if (their_seq + 1 < log.first_kept() || their_seq >= log.seq()) return false;
  const LogSlice slice = slice_from(now, found, their_seq + 1);
  for (auto& body : pack_records(0, {&slice, 1}, config_.message_bytes_max)) {
    if (may_answer(now, body.size())) reply(to, std::move(body));
  }
  return true;
}

void Announcements::handle(TimePoint now, const NodeId& from, const AePull& message) {
  std::vector<LogSlice> slices;
  for (const LogRange& range : message.ranges) {
    const auto found = find(range.origin);
    if (found == origins_.end() || low_bits(found->second.log.incarnation()) != range.incarnation) {
      continue;
    }
    LogSlice slice = slice_from(now, found, range.from_seq);
    if (slice.records.empty()) continue;
    if (!may_answer(now, slice.records.size() * sizeof(Id64))) break;
    slices.push_back(std::move(slice));
  }
  for (auto& body : pack_records(0, slices, config_.message_bytes_max)) {
    reply(from, std::move(body));
  }
}

LogSlice Announcements::slice_from(TimePoint now, Origins::const_iterator found,
                                   std::uint64_t from_seq) const {
  const Origin& origin = found->second;
  std::vector<std::size_t> defined;
  LogSlice slice{ref_of(found), low_bits(origin.log.incarnation()), from_seq,
                 origin.log.records_from(from_seq, defined)};
  if (origin.dated && origin.dated->seq == from_seq) slice.age = now - origin.dated->appended;
  for (const std::size_t i : defined) {
    // A record of something dropped since needs no definition.
    auto definition = index_.definition_of(std::get<Have>(slice.records[i]).id, origin.slot);
    if (definition) slice.records[i] = DefinedHave{*definition};
  }
  return slice;
}

// ---- definitions ----

void Announcements::request_definitions(const NodeId& peer, const std::vector<Id64>& ids) {
  DefinitionPull pull{ids};
  std::sort(pull.ids.begin(), pull.ids.end());
  pull.ids.erase(std::unique(pull.ids.begin(), pull.ids.end()), pull.ids.end());
  // The rest is asked for by later repair rounds.
  pull.ids.resize(std::min(pull.ids.size(), limits::definitions_per_message_max));
  if (!pull.ids.empty()) reply(peer, encode(pull));
}

void Announcements::handle(TimePoint now, const NodeId& from, const DefinitionPull& message) {
  if (!may_answer(now, message.ids.size() * definition_bytes)) return;
  std::vector<Definition> known;
  for (const Id64 id : message.ids) {
    if (const auto definition = index_.definition(id)) known.push_back(*definition);
  }
  for (auto& body : pack_definitions(known, config_.message_bytes_max))
    reply(from, std::move(body));
}

void Announcements::handle_bulk_message(TimePoint, const NodeId& from,
                                        const DefinitionPull& message) {
  Definitions known;
  for (const Id64 id : message.ids) {
    if (const auto definition = index_.definition(id)) known.definitions.push_back(*definition);
  }
  if (!known.definitions.empty()) send_bulk(from, encode_bulk(known));
}

void Announcements::handle(TimePoint, const NodeId&, const Definitions& message) {
  take_definitions(message);
}
void Announcements::handle_bulk_message(TimePoint, const NodeId&, const Definitions& message) {
  take_definitions(message);
}

void Announcements::take_definitions(const Definitions& message) {
  for (const auto& definition : message.definitions) {
    const Id64 id = id64_of(config_.id_key, definition.digest);
    if (index_.define(id, definition)) unresolved_.erase(id);
  }
}

// ---- whole sets ----

void Announcements::request_sets(TimePoint now, const NodeId& peer,
                                 const std::vector<NodeId>& origins) {
  SetPull pull;
  for (const auto& origin : origins) {
    if (!anti_entropy_.has_room()) {
      pull_more_ = peer;
    } else if (anti_entropy_.start_pull(now, origin, peer)) {
      pull.origins.push_back(origin);
    }
  }
  if (pull.origins.empty()) return;
  send_bulk(peer, encode_bulk(pull));
  arm_expiry();
}

void Announcements::handle_bulk_message(TimePoint now, const NodeId& from, const SetPull& message) {
  std::vector<std::map<NodeId, Origin>::const_iterator> served;
  std::vector<NodeSlot> slots;
  const bool admitted = set_pulls_.take(now);  // each is a pass over the whole index
  if (!admitted) ++stats_.refused_questions;
  for (const auto& id : message.origins) {
    const auto found = origins_.find(id);
    if (!admitted || found == origins_.end() || found->second.log.seq() == 0 ||
        !found->second.whole || (id == config_.self && !anti_entropy_.admit_own_serve(now))) {
      send_bulk(from, encode_bulk(SetNone{id}));
      continue;
    }
    served.push_back(found);
    slots.push_back(found->second.slot);
  }
  if (served.empty()) return;
  auto ids = index_.ids_of(slots);  // one pass over the index for all of them
  for (std::size_t i = 0; i < served.size(); ++i) {
    serve_set(from, served[i]->first, served[i]->second, std::move(ids[i]));
  }
}

void Announcements::serve_set(const NodeId& to, const NodeId& id, const Origin& origin,
                              std::vector<Id64> ids) {
  ++stats_.sets_served;
  const AnnouncementLog& log = origin.log;
  const auto names = names_.names_of(id);
  const std::size_t per_frame = limits::set_names_per_frame_max;
  const std::size_t parts = 1 + (names.size() + per_frame - 1) / per_frame;
  SetData data{id, log.incarnation(), log.seq(), log.set_hash(), 0, parts, std::move(ids), {}};
  send_bulk(to, encode_bulk(data));
  data.ids.clear();
  for (std::size_t first = 0; first < names.size(); first += per_frame) {
    ++data.part;
    const std::size_t last = std::min(first + per_frame, names.size());
    data.names.assign(names.begin() + static_cast<std::ptrdiff_t>(first),
                      names.begin() + static_cast<std::ptrdiff_t>(last));
    send_bulk(to, encode_bulk(data));
  }
}

void Announcements::handle_bulk_message(TimePoint now, const NodeId& from, SetData message) {
  const auto whole = anti_entropy_.take_part(now, from, std::move(message));
  if (whole) install_set(now, from, *whole);
  arm_expiry();
  if (anti_entropy_.pull_count() == 0 && pull_more_) {
    const NodeId peer = *std::exchange(pull_more_, std::nullopt);
    repair_with(now, peer);
  }
}

void Announcements::handle_bulk_message(TimePoint, const NodeId& from, const SetNone& message) {
  anti_entropy_.cancel(message.origin, from);
}

void Announcements::install_set(TimePoint now, const NodeId& from, const SetData& set) {
  const auto found = origins_.find(set.origin);
  if (found == origins_.end() || found->second.log.incarnation() != set.incarnation) return;
  Origin& origin = found->second;
  const bool newer =
      set.seq > origin.log.seq() ||
      (set.seq == origin.log.seq() && set.set_hash != origin.log.set_hash() && from == set.origin);
  if (!newer) return;
  std::uint64_t hash = 0;
  for (const Id64 id : set.ids) hash ^= id_hash(config_.id_key, id);
  if (hash != set.set_hash) {
    ++stats_.refused_sets;
    anti_entropy_.block(now, set.origin);
    return;
  }
  ++stats_.sets_pulled;
  open_new_slot(now, found->first, origin);
  if (origin.log.id_count() > 0 || !origin.whole) {  // a new origin has nothing to look for
    for (const Id64 id : index_.ids_of(origin.slot)) {
      if (!std::binary_search(set.ids.begin(), set.ids.end(), id)) index_.remove(id, origin.slot);
    }
  }
  origin.whole = true;
  origin.replay.reset();
  DefinitionPull pull;
  for (const Id64 id : set.ids) {
    if (index_.add(id, origin.slot, nullptr, false) == ContentIndex::Change::refused) {
      ++stats_.refused_facts;
      origin.whole = false;
    } else if (index_.is_unresolved(id)) {
      if (unresolved_.size() < limits::unresolved_ids_max) unresolved_.insert(id);
      pull.ids.push_back(id);
    }
    if (pull.ids.size() == limits::definitions_per_frame_max) {
      send_bulk(from, encode_bulk(pull));
      pull.ids.clear();
    }
  }
  if (!pull.ids.empty()) send_bulk(from, encode_bulk(pull));
  origin.log.install(set.seq, set.set_hash, set.ids.size());
  count_lag(now, origin);
  origin.hole_since.reset();
  for (const auto& name : set.names) accept_name(origin, name);
  settle(now, origin);
  std::vector<Id64> unresolved;
  apply_parked(now, found->first, origin, unresolved);
  note_state(found->first, origin);
  request_definitions(from, unresolved);
}

}  // namespace waggle::gossip
