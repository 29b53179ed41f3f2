// Joining a large cluster: the whole index from one member, in parts, instead of a set per origin.
// Which part is asked whom for is snapshot_import.hpp; here parts are made, and put into the index.
#include "gossip/announcements.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"

#include <algorithm>
#include <utility>

namespace waggle::gossip {
namespace {

using Verdict = SnapshotImport::Verdict;

constexpr std::uint16_t no_row = UINT16_MAX;
/// A snapshot costs what all sets together cost: it is worth it when so many members' are missing.
constexpr std::size_t missing_share = 8;
/// And when at most so many of the states told are of members that could not take part in it.
constexpr std::size_t unknown_share = 16;

}  // namespace

// ---- giving ----

void Announcements::handle_bulk_message(TimePoint now, const NodeId& from,
                                        const SnapshotPull& message) {
  if (!snapshot_parts_.take(now)) {  // each is a pass over the whole index
    ++stats_.refused_questions;
    send_bulk(from, encode_bulk(SnapshotNone{}));
    return;
  }
  ++stats_.snapshot_parts_served;
  SnapshotPart part;
  part.from = message.from;
  std::vector<std::uint16_t> rows;
  part.origins = snapshot_table(rows);
  part.origin_count = part.origins.size();
  part.table_hash = snapshot_table_hash(config_.id_key, part.origins);
  if (part.from.names) {
    part.names = names_.names_from(part.from.at, limits::snapshot_names_per_part_max + 1);
    if (part.names.size() > limits::snapshot_names_per_part_max) {
      part.next = part.names.back()->record.key64;
      part.names.pop_back();
    }
  } else {
    fill_part(part, rows);
  }
  if (part.table_hash == message.table_hash) part.origins.clear();
  send_bulk(from, encode_bulk(part));
}

std::vector<SnapshotOrigin> Announcements::snapshot_table(std::vector<std::uint16_t>& rows) const {
  rows.assign(slots_.live_mask().size() * 64, no_row);
  std::vector<SnapshotOrigin> table;
  for (auto it = origins_.begin(); it != origins_.end(); ++it) {
    const Origin& origin = it->second;
    if (!origin.live || !origin.whole || origin.log.seq() == 0) continue;
    rows[origin.slot] = static_cast<std::uint16_t>(table.size());
    table.push_back(
        {ref_of(it), low_bits(origin.log.incarnation()), origin.log.seq(), origin.log.set_hash()});
  }
  return table;
}

void Announcements::fill_part(SnapshotPart& part, const std::vector<std::uint16_t>& rows) const {
  constexpr std::size_t id_bytes = 40;  // an entry without its holders
  constexpr int passes_max = 3;
  const std::size_t ids = std::max<std::size_t>(1, index_.id_count());
  const std::size_t holder_bytes = std::min(index_.fact_count() / ids, part.origin_count / 8 + 1);
  // Ids are hashes: a range of them holds its share. A quarter more fills the part.
  const std::size_t fitting = config_.snapshot_part_bytes / (id_bytes + holder_bytes) * 5 / 4 + 1;
  const std::uint64_t width = fitting >= ids ? UINT64_MAX : UINT64_MAX / ids * fitting;
  SnapshotPacker packer(part.origin_count, config_.snapshot_part_bytes);
  SnapshotBits bits;
  const auto holders = std::span(bits).first(words_for(part.origin_count));
  std::optional<Id64> group;  // definitions of one id stand in one part
  std::size_t group_start = 0;
  bool cut = false;
  const auto visit = [&](const ContentIndex::Held& held) {
    if (group != held.id) group_start = packer.size();
    group = held.id;
    std::fill(holders.begin(), holders.end(), 0);
    bool any = false;
    for_each_slot(held.holders, [&](NodeSlot slot) {
      if (rows[slot] == no_row) return;
      set_slot(holders, rows[slot]);
      any = true;
    });
    if (!any || packer.append({held.definition, held.id, holders})) return true;
    cut = group_start == 0;  // more than a whole part: what is left out is pulled with the sets
    if (!cut) packer.shrink_to(group_start);
    return false;
  };
  std::uint64_t at = part.from.at;
  for (int pass = 0; pass < passes_max; ++pass) {
    const std::uint64_t last = width > UINT64_MAX - at ? UINT64_MAX : at + width;
    const auto stopped =
        index_.for_each_held(Id64{at}, Id64{last}, slots_.live_mask().size(), visit);
    part.next = stopped ? to_value(*stopped) + (cut ? 1 : 0) : last + 1;  // wraps to 0 at the end
    at = part.next;
    if (stopped || part.next == 0 || packer.size() > config_.snapshot_part_bytes / 2) break;
  }
  part.entries = packer.take();
}

// ---- asking ----

bool Announcements::import_instead(TimePoint now, const NodeId& peer,
                                   const std::vector<NodeId>& sets, std::size_t listed,
                                   std::size_t unknown) {
  if (import_) return import_->is_open();
  const auto is_empty = [&](const NodeId& id) { return origins_.at(id).log.seq() == 0; };
  const auto empty_sets =
      static_cast<std::size_t>(std::count_if(sets.begin(), sets.end(), is_empty));
  if (empty_sets <= limits::set_pulls_max || now < import_after_ || version_ < relay_version) {
    return false;
  }
  std::size_t missing = 0;
  for (const auto& [id, origin] : origins_) {
    missing += origin.live && origin.log.seq() == 0 && id != config_.self ? 1U : 0U;
  }
  if (missing * missing_share < cluster_size()) return false;
  const bool joining = !matched_root_ && now - started_ < join_time;
  if (joining && unknown * unknown_share > listed) return true;  // with the next comparison
  import_ = std::make_unique<SnapshotImport>(now, peer);
  drive_import(now);
  return true;
}

void Announcements::drive_import(TimePoint now) {
  timers_.disarm(Timer::snapshot);
  if (!import_) return;
  clear_left();
  if (import_->is_silent(now)) ask_another(now);
  if (import_->has_failed(now) || plan_.member_count() == 0) {
    import_->leave_all();
    clear_left();
    import_.reset();
    import_after_ = now + limits::snapshot_pause;
    hurry_repair(now);
    return;
  }
  if (const auto question = import_->poll_question(now)) {
    send_bulk(import_->server(), encode_bulk(*question));
  }
  timers_.arm(Timer::snapshot, import_->next_deadline());
}

void Announcements::ask_another(TimePoint now) {
  const std::size_t count = plan_.member_count();
  if (count == 0) return;
  std::size_t chosen = prng_.below(count);
  if (plan_.member(chosen) == import_->server()) chosen = (chosen + 1) % count;
  import_->move_to(now, plan_.member(chosen));
}

void Announcements::handle_bulk_message(TimePoint now, const NodeId& from, const SnapshotNone&) {
  if (!import_ || from != import_->server()) return;
  ask_another(now);
  drive_import(now);
}

// ---- importing ----

void Announcements::handle_bulk_message(TimePoint now, const NodeId& from,
                                        const SnapshotPart& message) {
  auto verdict = import_ ? import_->check(from, message, config_.id_key) : Verdict::unasked;
  if (verdict == Verdict::unasked || verdict == Verdict::bad) ++stats_.refused_parts;
  if (verdict == Verdict::unasked) return;
  const bool was_open = import_->is_open();
  if (verdict == Verdict::taken && !import_->take_table(message, matches_of(message))) {
    verdict = Verdict::poor;
  }
  if (verdict != Verdict::taken) {
    ask_another(now);
    drive_import(now);
    return;
  }
  if (was_open) {
    for (const auto& column : import_->columns()) anti_entropy_.cancel(column.origin);
  }
  take_contents(message, verdict);
  clear_left();
  if (verdict == Verdict::ended || import_->columns().empty()) {
    finish_import(now);
  } else {
    drive_import(now);
  }
}

std::vector<std::optional<SnapshotImport::Match>> Announcements::matches_of(
    const SnapshotPart& part) {
  std::vector<std::optional<SnapshotImport::Match>> rows;
  rows.reserve(part.origins.size());
  auto last = origins_.cend();
  for (const SnapshotOrigin& row : part.origins) {
    auto& match = rows.emplace_back();
    const auto found = find(row.origin);
    // A short and a whole id of the same origin, one after the other: only the first counts.
    if (found == origins_.end() || found->first == config_.self || found == last) continue;
    last = found;
    const Origin& origin = found->second;
    if (low_bits(origin.log.incarnation()) != row.incarnation) continue;
    const bool wanted = origin.live && origin.log.seq() == 0 && !origin.transition;
    match = {found->first, origin.slot, wanted};
  }
  return rows;
}

void Announcements::take_contents(const SnapshotPart& part, Verdict& verdict) {
  ++stats_.snapshot_parts_taken;
  std::vector<Id64> undefined;
  verdict = import_->apply(part, config_.id_key, index_, slots_.live_mask().size(), undefined);
  for (const Id64 id : undefined) {
    if (unresolved_.size() < limits::unresolved_ids_max) unresolved_.insert(id);
  }
  for (const auto& name : part.names) {
    const auto author = origins_.find(name->author);
    if (author != origins_.end()) accept_name(author->second, name);
  }
}

void Announcements::leave_import(TimePoint now, const NodeId& id) {
  if (!import_) return;
  const bool left = import_->leave(id);
  const bool was_server = import_->server() == id;
  if (was_server) ask_another(now);
  // The members of one rack go one after the other: their facts go in one pass.
  if (left || was_server) timers_.arm(Timer::snapshot, now);
}

void Announcements::clear_left() {
  if (!import_) return;
  const auto slots = import_->take_left();
  if (!slots.empty()) index_.clear(slots);
}

void Announcements::finish_import(TimePoint now) {
  std::vector<NodeId> wrong;
  for (const auto& column : import_->columns()) {
    const bool is_checkable = column.seq == column.last_seq;
    if (is_checkable && column.facts_hash != column.set_hash) wrong.push_back(column.origin);
  }
  for (const NodeId& id : wrong) import_->leave(id);
  clear_left();
  for (const auto& column : import_->columns()) install_column(now, column);
  if (import_->was_overfull() || !wrong.empty()) import_after_ = now + limits::snapshot_pause;
  stats_.refused_sets += wrong.size();
  ++stats_.snapshots_taken;
  timers_.disarm(Timer::snapshot);
  // Nobody who was wrong is asked to set it right.
  if (!wrong.empty()) ask_another(now);
  const NodeId peer = import_->server();
  import_.reset();
  request_sets(now, peer, wrong);
  repair_with(now, peer);
}

void Announcements::install_column(TimePoint now, const SnapshotImport::Column& column) {
  const auto found = origins_.find(column.origin);
  WAGGLE_ASSERT(found != origins_.end() && found->second.log.seq() == 0);
  Origin& origin = found->second;
  origin.log.install(column.seq, column.set_hash, column.id_count);
  origin.hole_since.reset();
  if (column.refused) {
    ++stats_.refused_facts;
    origin.whole = false;
  } else if (column.seq < column.last_seq) {
    // Its set hash follows the records, the facts are ahead of it.
    origin.whole = false;
    origin.replay =
        std::make_unique<Replay>(Replay{column.last_seq, column.facts_hash, column.id_count});
  }
  std::vector<Id64> unresolved;
  apply_parked(now, found->first, origin, unresolved);
  note_state(found->first, origin);
}

// ---- replay ----

void Announcements::note_replayed(Origin& origin, Id64 id, bool added) {
  if (!origin.replay) return;
  origin.replay->facts_hash ^= id_hash(config_.id_key, id);
  origin.replay->id_count += added ? std::size_t{1} : SIZE_MAX;  // modulo 2^64: one less
}

void Announcements::end_replay(Origin& origin) {
  if (!origin.replay || origin.log.seq() < origin.replay->until) return;
  const Replay replay = *std::exchange(origin.replay, nullptr);
  origin.whole = true;
  if (replay.facts_hash == origin.log.set_hash()) {
    origin.log.recount(replay.id_count);
    return;
  }
  // Some part was wrong about it: as if nothing of it were known, and its set is pulled.
  ++stats_.refused_sets;
  index_.clear(origin.slot);
  origin.log = AnnouncementLog(config_.id_key, origin.log.incarnation(), log_budget_);
}

}  // namespace waggle::gossip
