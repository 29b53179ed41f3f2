// What arrives: records, vectors, pulls and sets; and the repair rounds. The node's own side is
// announcements.cpp.
#include "gossip/announcements.hpp"

#include "base/limits.hpp"

#include <algorithm>
#include <utility>

namespace waggle::gossip {
namespace {

// What an answer costs per entry, for the repair rate.
constexpr std::size_t vector_bytes = 48;
constexpr std::size_t definition_bytes = 44;

}  // namespace

void Announcements::handle_message(TimePoint now, const NodeId& from, ByteView body) {
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
  const auto found = origins_.find(message.origin);
  if (message.origin == config_.self || found == origins_.end() ||
      found->second.log.incarnation() != message.incarnation) {
    ++stats_.refused_records;
    return;
  }
  Origin& origin = found->second;
  std::vector<Id64> unresolved;
  bool hole = false;
  for (std::size_t i = 0; i < message.records.size(); ++i) {
    const std::uint64_t seq = message.first_seq + i;
    switch (origin.log.order_of(seq)) {
      case AnnouncementLog::Order::duplicate:
        break;
      case AnnouncementLog::Order::next:
        if (!apply(now, found->first, origin, message.records[i], unresolved)) {
          request_sets(now, from, {found->first});
          return;
        }
        apply_parked(now, found->first, origin, unresolved);
        break;
      case AnnouncementLog::Order::early:
        origin.log.park(seq, std::move(message.records[i]));
        hole = true;
        break;
      case AnnouncementLog::Order::gap:
        ++stats_.gaps;
        hole = true;
        break;
    }
  }
  // The origin itself is asked at once for what a lost datagram carried; all else waits for
  // anti-entropy.
  if (hole && from == found->first) {
    send(from, encode(AePull{{{from, origin.log.incarnation(), origin.log.seq() + 1}}}));
  }
  request_definitions(from, unresolved);
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
    arm_sweep();
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
    origin.log.append({LogRecord::Kind::drop, drop->id, nullptr}, held || !origin.whole);
  } else {
    const auto& name = std::get<Named>(record).name;
    accept_name(origin, name);
    origin.log.append({LogRecord::Kind::name, Id64{}, name}, false);
  }
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
  } else if (index_.is_unresolved(id)) {
    unresolved.push_back(id);
    if (unresolved_.size() < limits::unresolved_ids_max) unresolved_.insert(id);
  } else if (definition != nullptr) {
    unresolved_.erase(id);
  }
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
  arm_sweep();
}

// ---- anti-entropy ----

void Announcements::repair_with(TimePoint now, const NodeId& peer) {
  last_repair_ = now;
  asked_ = peer;
  const bool joining = !matched_root_ && now - started_ < join_time;
  timers_.arm(Timer::repair, now + (joining ? join_repair_interval : repair_retry_interval));
  send(peer, encode(AeRoot{root(), false}), false);
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
  if (!joining) timers_.arm(Timer::repair, *last_repair_ + repair_interval);
}

void Announcements::repair_with_random(TimePoint now) {
  std::vector<NodeId> live;
  for (const auto& [id, origin] : origins_) {
    if (origin.live && id != config_.self) live.push_back(id);
  }
  if (live.empty()) {
    asked_.reset();
    last_repair_.reset();  // whoever comes up next is asked at once
    return;
  }
  repair_with(now, live[prng_.below(live.size())]);
}

void Announcements::handle(TimePoint now, const NodeId& from, const AeRoot& message) {
  // A question costs a walk over all origins, and the answer may be a vector for each.
  if (!message.answer && !may_answer(now, origins_.size() * vector_bytes)) return;
  const std::vector<OriginVector> vectors = live_vectors();
  if (message.answer) note_answer(now, from);
  if (index_root(vectors) == message.root) {
    matched_root_ = true;
    if (!message.answer) send(from, encode(AeRoot{message.root, true}));
  } else if (!message.answer) {
    for (auto& body : pack_vectors(vectors, true, config_.message_bytes_max)) {
      send(from, std::move(body));
    }
  }
}

void Announcements::handle(TimePoint now, const NodeId& from, const AeVectors& message) {
  if (!may_answer(now, config_.message_bytes_max)) return;
  std::vector<OriginVector> ahead;
  std::vector<NodeId> sets;
  AePull pull;
  for (const auto& theirs : message.vectors) {
    const auto found = origins_.find(theirs.origin);
    if (found == origins_.end()) continue;
    const OriginVector mine = vector_of(found->first, found->second);
    switch (compare(mine, theirs, config_.self, from)) {
      case Repair::none:
        break;
      case Repair::peer_behind:
        if (!found->second.live || !message.full) break;
        if (!push_records(now, from, found->second, mine, theirs)) ahead.push_back(mine);
        break;
      case Repair::pull_records:
        pull.ranges.push_back({mine.origin, mine.incarnation, mine.seq + 1});
        break;
      case Repair::pull_set:
        sets.push_back(mine.origin);
        break;
    }
  }
  if (message.full) {
    note_answer(now, from);
    // What the peer did not list in the range that this part covers, it does not know.
    const auto& listed = message.vectors;
    auto next = listed.begin();
    for (auto it = origins_.upper_bound(message.after); it != origins_.end(); ++it) {
      if (!message.last && (listed.empty() || it->first > listed.back().origin)) break;
      while (next != listed.end() && next->origin < it->first) ++next;
      if (next != listed.end() && next->origin == it->first) continue;
      if (it->second.live && it->second.log.seq() > 0) {
        ahead.push_back(vector_of(it->first, it->second));
      }
    }
    std::sort(ahead.begin(), ahead.end());
    for (auto& body : pack_vectors(ahead, false, config_.message_bytes_max)) {
      send(from, std::move(body));
    }
  }
  if (!pull.ranges.empty()) send(from, encode(pull));
  request_sets(now, from, sets);
}

bool Announcements::push_records(TimePoint now, const NodeId& to, const Origin& origin,
                                 const OriginVector& mine, const OriginVector& theirs) {
  if (theirs.incarnation != mine.incarnation || theirs.seq + 1 < mine.log_first ||
      theirs.seq == mine.seq) {
    return false;
  }
  const auto bodies = pack_records(mine.origin, mine.incarnation, theirs.seq + 1,
                                   records_from(origin, theirs.seq + 1), config_.message_bytes_max);
  for (const auto& body : bodies) {
    if (may_answer(now, body.size())) send(to, body);
  }
  return true;
}

void Announcements::handle(TimePoint now, const NodeId& from, const AePull& message) {
  for (const auto& range : message.ranges) {
    const auto found = origins_.find(range.origin);
    if (found == origins_.end() || found->second.log.incarnation() != range.incarnation) continue;
    for (auto& body :
         pack_records(range.origin, range.incarnation, range.from_seq,
                      records_from(found->second, range.from_seq), config_.message_bytes_max)) {
      if (!may_answer(now, body.size())) return;
      send(from, std::move(body));
    }
  }
}

OriginVector Announcements::vector_of(const NodeId& id, const Origin& origin) const {
  const AnnouncementLog& log = origin.log;
  return {id, log.incarnation(), log.seq(), log.set_hash(), log.first_kept()};
}

std::vector<Record> Announcements::records_from(const Origin& origin,
                                                std::uint64_t from_seq) const {
  std::vector<std::size_t> defined;
  std::vector<Record> records = origin.log.records_from(from_seq, defined);
  for (const std::size_t i : defined) {
    // A record of something dropped since needs no definition.
    auto definition = index_.definition_of(std::get<Have>(records[i]).id, origin.slot);
    if (definition) records[i] = DefinedHave{*definition};
  }
  return records;
}

// ---- definitions ----

void Announcements::request_definitions(const NodeId& peer, const std::vector<Id64>& ids) {
  DefinitionPull pull{ids};
  std::sort(pull.ids.begin(), pull.ids.end());
  pull.ids.erase(std::unique(pull.ids.begin(), pull.ids.end()), pull.ids.end());
  // The rest is asked for by later repair rounds.
  pull.ids.resize(std::min(pull.ids.size(), limits::definitions_per_message_max));
  if (!pull.ids.empty()) send(peer, encode(pull));
}

void Announcements::handle(TimePoint now, const NodeId& from, const DefinitionPull& message) {
  if (!may_answer(now, message.ids.size() * definition_bytes)) return;
  std::vector<Definition> known;
  for (const Id64 id : message.ids) {
    if (const auto definition = index_.definition(id)) known.push_back(*definition);
  }
  for (auto& body : pack_definitions(known, config_.message_bytes_max)) send(from, std::move(body));
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
  arm_sweep();
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
  arm_sweep();
  if (anti_entropy_.pull_count() == 0 && pull_more_) {
    const NodeId peer = *std::exchange(pull_more_, std::nullopt);
    repair_with(now, peer);
  }
}

void Announcements::handle_bulk_message(TimePoint, const NodeId& from, const SetNone& message) {
  anti_entropy_.cancel(message.origin, from);
  arm_sweep();
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
  for (const auto& name : set.names) accept_name(origin, name);
  settle(now, origin);
  std::vector<Id64> unresolved;
  apply_parked(now, found->first, origin, unresolved);
  request_definitions(from, unresolved);
}

}  // namespace waggle::gossip
