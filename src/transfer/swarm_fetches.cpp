// A swarm's upstream side: granted extents, fetches and their ends, back-off, the bypass for
// starving readers.
#include "base/assert.hpp"
#include "base/limits.hpp"
#include "transfer/swarm.hpp"

#include <algorithm>

namespace waggle::transfer {
namespace {

using namespace std::chrono_literals;

constexpr Duration backoff_first = 200ms;
constexpr Duration backoff_max = 5s;
constexpr Duration retry_after_max = 60s;
constexpr Duration holder_patience =
    1s;  // no progress from any peer: holders no longer block claims
constexpr Duration list_patience_max = 8s;  // a holder may have to hash the blob first
constexpr std::uint64_t list_bytes_per_ms = 500'000;
constexpr std::uint32_t appetite_max = 8;
constexpr std::size_t unclaimed_choice_max = 8;
constexpr std::uint32_t bypass_chunks_max = 16;
constexpr Duration careful_patience = 10s;  // then without the claim, plus what the blob may take
constexpr std::uint64_t careful_bytes_per_ms = 20'000;
constexpr ExtentIndex whole_claim{0};  // in a careful round the one claim there is

}  // namespace

bool Swarm::fetch_covers(std::uint32_t chunk) const {
  return std::any_of(fetches_.begin(), fetches_.end(), [&](const auto& entry) {
    const Fetch& fetch = entry.second;
    return !fetch.canceled && chunk >= fetch.next && chunk < fetch.end;
  });
}

bool Swarm::is_fetching(ExtentIndex extent) const {
  return std::any_of(fetches_.begin(), fetches_.end(), [&](const auto& entry) {
    const Fetch& fetch = entry.second;
    return !fetch.canceled && fetch.extent == extent && fetch.kind != FetchKind::bypass;
  });
}

bool Swarm::upstream_usable(TimePoint now) const {
  return !no_credential_ && !not_found_ && now >= claims_paused_until_;
}

std::optional<ExtentIndex> Swarm::lowest_missing_extent() const {
  for (auto i = extents_done_.find(false); i; i = extents_done_.find(false, *i + 1)) {
    const ExtentIndex extent{static_cast<std::uint32_t>(*i)};
    if (!owned_.contains(extent) && !is_fetching(extent)) return extent;
  }
  return std::nullopt;
}

// Others that reach no registrar either are at it, too: not all with the same extent.
std::optional<ExtentIndex> Swarm::random_missing_extent() {
  std::vector<ExtentIndex> missing;
  for (auto i = extents_done_.find(false); i && missing.size() < unclaimed_choice_max;
       i = extents_done_.find(false, *i + 1)) {
    const ExtentIndex extent{static_cast<std::uint32_t>(*i)};
    if (!owned_.contains(extent) && !is_fetching(extent)) missing.push_back(extent);
  }
  if (missing.empty()) return std::nullopt;
  return missing[context_.prng.below(missing.size())];
}

std::uint32_t Swarm::claim_appetite(TimePoint now) const {
  if (ended_ || proven_ || readers_.empty() || !upstream_usable(now)) return 0;
  if (holders_known() && !holders_failed(now) && !own_only_) return 0;
  if (careful_) return whole_mine_ || !fetches_.empty() ? 0 : 1;
  if (!size_) return fetches_.empty() ? 1 : 0;
  // Somebody streams the whole blob: only when that has dried up is another stream worth it.
  if (no_range_) return fetches_.empty() && now - progress_ >= patience_ ? 1 : 0;
  if (!opened_) return 0;
  std::uint32_t missing = 0;
  for (auto i = extents_done_.find(false); i && missing < appetite_max;
       i = extents_done_.find(false, *i + 1)) {
    const ExtentIndex extent{static_cast<std::uint32_t>(*i)};
    if (!owned_.contains(extent) && !is_fetching(extent)) ++missing;
  }
  return missing;
}

std::uint32_t Swarm::busy_extents() const {
  auto busy = static_cast<std::uint32_t>(waiting_.size());
  for (const auto& [id, fetch] : fetches_) {
    if (fetch.canceled || fetch.kind == FetchKind::bypass) continue;
    const std::uint32_t done = fetch.next - fetch.first;
    if (fetch.end == 0 || 4 * done < 3 * (fetch.end - fetch.first)) ++busy;
  }
  return busy;
}

bool Swarm::holders_failed(TimePoint now) const {
  if (!holders_known()) return false;
  const bool all_failed =
      std::all_of(candidates_.begin(), candidates_.end(), [&](const auto& entry) {
        const PeerCandidate& candidate = entry.second;
        return !candidate.holder || candidate.dead_end || is_set_aside(now, entry.first) ||
               (candidate.retry_at > now && !peers_.contains(entry.first)) ||
               context_.scores.is_banned(now, entry.first);
      });
  if (all_failed) return true;
  if (now - peer_progress_ < holder_patience) return false;
  const Duration hashing = std::chrono::milliseconds(size_.value_or(0) / list_bytes_per_ms);
  const Duration patience = std::min(list_patience_max, holder_patience + hashing);
  return std::none_of(peers_.begin(), peers_.end(), [&](const auto& entry) {
    return entry.second.list_asked && !list_ && now - *entry.second.list_asked < patience;
  });
}

void Swarm::set_demand(TimePoint now, std::uint32_t demand) {
  demand_ = demand;
  update_want(now);
}

void Swarm::update_want(TimePoint now) {
  if (ended_ || committed_) return;
  const bool failed = holders_failed(now);
  const bool served_by_holders = holders_known() && !failed;
  const bool is_small = !size_ || layout_.chunk_count() == 1;
  // Without readers nothing is asked any more, but what is here stays known to the registrars while
  // the swarm lingers or its blob is on the way to the disk: else the next node would fetch it
  // again.
  if (readers_.empty() && owned_.empty() && !want_sent_) return;
  if (!want_sent_ && served_by_holders && is_small)
    return;  // one request to a holder is all it takes
  WantState state{.size = size_, .extents_done = extents_done_, .demand = demand_};
  state.holders_failed = failed;
  state.reader_waits = !readers_.empty();
  if (careful_) {  // without a size there is but one claim: to all of it
    state.size.reset();
    state.extents_done = {};
  }
  const auto bytes = context_.upstream_bytes.find(key_.origin);
  if (bytes != context_.upstream_bytes.end()) state.upstream_bytes = bytes->second;
  const bool same = want_sent_ && state.size == last_want_.size &&
                    state.extents_done == last_want_.extents_done &&
                    state.demand == last_want_.demand &&
                    state.holders_failed == last_want_.holders_failed &&
                    state.upstream_bytes / limits::extent_bytes ==
                        last_want_.upstream_bytes / limits::extent_bytes;
  if (same) return;
  last_want_ = state;
  want_sent_ = true;
  context_.claims.want(now, claims_key_, state);
}

void Swarm::extent_granted(TimePoint now, ExtentIndex extent) {
  if (ended_ || proven_ || readers_.empty() || no_credential_ || not_found_) {
    context_.claims.release(now, claims_tag_, extent);
    return;
  }
  if (careful_) {
    if (extent == whole_claim) {
      whole_mine_ = true;
    } else {
      context_.claims.release(now, claims_tag_, extent);
    }
    return;
  }
  if (!size_) {
    owned_.insert(extent);
    if (extent != ExtentIndex{0}) {
      waiting_.push_back(extent);  // the registrar knows the size: its news are on their way
    } else if (!is_fetching(extent)) {
      start_unsized(now, FetchKind::claimed);
    }
    return;
  }
  if (to_value(extent) >= layout_.extent_count()) {
    context_.claims.release(now, claims_tag_, extent);
  } else if (extents_done_.test(to_value(extent))) {
    context_.claims.extent_done(now, claims_tag_, extent);
  } else if (!opened_) {
    owned_.insert(extent);
    waiting_.push_back(extent);
  } else {
    start_extent(now, extent, FetchKind::claimed);
  }
}

void Swarm::extent_revoked(TimePoint now, ExtentIndex extent) {
  owned_.erase(extent);
  std::erase(waiting_, extent);
  const bool was_whole = careful_ && extent == whole_claim;
  if (was_whole) whole_mine_ = false;
  for (auto& [id, fetch] : fetches_) {
    const bool is_lost = was_whole ? fetch.kind == FetchKind::whole
                                   : fetch.extent == extent && fetch.kind == FetchKind::claimed;
    if (!is_lost) continue;
    fetch.cancel_at_chunk = true;
    if (!was_whole && !fetch.has_bytes) cancel_fetch(id);
  }
  if (!is_fetching(extent)) context_.claims.fetch_over(now, claims_tag_, extent);
  context_.claims_dirty = true;
}

void Swarm::trio_unreachable(TimePoint now) {
  if (claim_appetite(now) == 0 || busy_extents() > 0) return;
  if (careful_) {
    whole_mine_ = true;
  } else if (!size_) {
    start_unsized(now, FetchKind::unclaimed);
  } else if (const auto extent = random_missing_extent()) {
    start_extent(now, *extent, FetchKind::unclaimed);
  }
}

// From the first chunk that neither this node nor a live peer has; what peers have comes from them.
void Swarm::start_extent(TimePoint now, ExtentIndex extent, FetchKind kind) {
  if (extents_done_.test(to_value(extent))) return;
  if (kind == FetchKind::claimed) owned_.insert(extent);
  if (is_fetching(extent)) return;
  if (no_range_) {
    start_fetch(now, kind, extent, 0, layout_.chunk_count());
    return;
  }
  const std::uint32_t begin = to_value(layout_.extent_first_chunk(extent));
  std::uint32_t end = begin + layout_.extent_chunk_count(extent);
  while (end > begin && have_.test(end - 1)) --end;
  for (std::uint32_t i = begin; i < end; ++i) {
    const ChunkIndex chunk{i};
    if (have_.test(i) || fetch_covers(i)) continue;
    if (kind != FetchKind::whole && someone_has(now, chunk)) continue;
    // Up to what is here already, a rescued reader's chunks say; the rest is another request.
    std::uint32_t stop = i + 1;
    while (stop < end && !have_.test(stop)) ++stop;
    start_fetch(now, kind, extent, i, stop);
    return;
  }
}

void Swarm::start_fetch(TimePoint now, FetchKind kind, ExtentIndex extent, std::uint32_t first,
                        std::uint32_t end) {
  const FetchId id{context_.next_fetch++};
  context_.fetches[id] = id_;
  fetches_[id] = Fetch{.kind = kind,
                       .extent = extent,
                       .first = first,
                       .next = first,
                       .end = end,
                       .last_progress = now};
  for (std::uint32_t i = first; i < end; ++i) refresh_open(ChunkIndex{i});
  const std::uint64_t offset = layout_.chunk_offset(ChunkIndex{first});
  const ChunkIndex last{end - 1};
  const std::uint64_t length = layout_.chunk_offset(last) + layout_.chunk_size(last) - offset;
  context_.emit(StartFetch{id, id_, key_, offset, length});
}

void Swarm::start_unsized(TimePoint now, FetchKind kind) {
  const FetchId id{context_.next_fetch++};
  context_.fetches[id] = id_;
  fetches_[id] = Fetch{.kind = kind, .last_progress = now};
  fetches_[id].cancel_at_chunk = kind == FetchKind::bypass;
  context_.emit(StartFetch{id, id_, key_, 0, 0});
}

void Swarm::cancel_fetch(FetchId id) {
  Fetch& fetch = fetches_.at(id);
  if (fetch.canceled) return;
  fetch.canceled = true;
  context_.emit(CancelFetch{id});
  for (std::uint32_t i = fetch.next; i < fetch.end; ++i) refresh_open(ChunkIndex{i});
}

// Forgets them altogether: what they still deliver is not for the blob that begins now.
void Swarm::cancel_fetches() {
  for (const auto& [id, fetch] : fetches_) {
    if (!fetch.canceled) context_.emit(CancelFetch{id});
    context_.fetches.erase(id);
  }
  fetches_.clear();
}

void Swarm::release_extent(TimePoint now, ExtentIndex extent) {
  if (owned_.erase(extent) == 0) return;
  context_.claims.release(now, claims_tag_, extent);
  context_.claims_dirty = true;
}

void Swarm::release_claims(TimePoint now) {
  waiting_.clear();
  release_whole(now);
  const std::set<ExtentIndex> owned = owned_;
  for (const ExtentIndex extent : owned) release_extent(now, extent);
}

void Swarm::fetch_head(TimePoint now, FetchId id, const FetchHead& head) {
  const auto it = fetches_.find(id);
  if (it == fetches_.end() || it->second.canceled) return;
  if (head.status != 200 && head.status != 206) return;  // fetch_ended says what it means
  context_.down_origins.erase(key_.origin);
  moved(now);
  it->second.last_progress = now;
  if (!head.total_size) {
    if (!size_ || head.whole) fail(now, SwarmError::unsupported);
    return;
  }
  const std::uint64_t total = *head.total_size;
  const bool is_new = size_source_ != SizeSource::upstream || !size_;
  const bool was_wrong = size_ && *size_ != total;
  set_size(now, total, SizeSource::upstream);
  if (ended_) return;
  const bool knew_no_range = no_range_;
  no_range_ = no_range_ || head.whole;
  if (!careful_ && (is_new || (head.whole && !knew_no_range))) {
    context_.claims.size_known(now, tag_, total, no_range_);
  }
  if (was_wrong) return;  // the request was cut for another layout: claimed again
  Fetch& fetch = it->second;
  if (fetch.end == 0) fetch.end = layout_.extent_chunk_count(ExtentIndex{0});
  if (head.whole) {
    // Only one node should stream it all: who began in the middle gives way, unless that was known
    // before.
    if (fetch.extent != ExtentIndex{0} && !knew_no_range) {
      const ExtentIndex extent = fetch.extent;
      cancel_fetch(id);
      release_extent(now, extent);
      return;
    }
    fetch.first = fetch.next = 0;
    fetch.end = layout_.chunk_count();
  }
  for (std::uint32_t i = fetch.next; i < fetch.end; ++i) refresh_open(ChunkIndex{i});
}

void Swarm::fetch_progress(TimePoint now, FetchId id, std::uint64_t bytes) {
  const auto it = fetches_.find(id);
  if (it == fetches_.end() || it->second.canceled) return;
  const Fetch& fetch = it->second;
  moved(now);
  it->second.last_progress = now;
  it->second.has_bytes = true;
  if (fetch.kind == FetchKind::whole && whole_mine_) {
    const std::uint64_t under_way = size_ ? bytes % layout_.chunk_bytes() : bytes;
    context_.claims.progress(now, claims_tag_, whole_claim,
                             have_.count() * layout_.chunk_bytes() + under_way);
  }
  if (fetch.kind != FetchKind::claimed || !owned_.contains(fetch.extent)) return;
  // What lies before its start in the extent came another way.
  const std::uint32_t extent_first =
      fetch.end == 0 ? 0 : to_value(layout_.extent_first_chunk(fetch.extent));
  const std::uint64_t before =
      fetch.first > extent_first ? (fetch.first - extent_first) * layout_.chunk_bytes() : 0;
  context_.claims.progress(now, claims_tag_, fetch.extent, before + bytes);
}

void Swarm::fetch_chunk(TimePoint now, FetchId id, ChunkIndex chunk,
                        const std::array<std::byte, 32>& sha256, ChunkVerdict verdict) {
  const auto it = fetches_.find(id);
  if (it == fetches_.end() || !size_ || to_value(chunk) >= layout_.chunk_count()) return;
  if (verdict != ChunkVerdict::ok) {
    fail(now, SwarmError::store_failed);
    return;
  }
  Fetch& fetch = it->second;
  fetch.last_progress = now;
  const std::uint32_t skipped = fetch.next;
  fetch.next = std::max(fetch.next, to_value(chunk) + 1);
  for (std::uint32_t i = skipped; i < to_value(chunk); ++i) refresh_open(ChunkIndex{i});
  context_.upstream_bytes[key_.origin] += layout_.chunk_size(chunk);
  backoffs_ = upstream_failures_ = 0;
  judge_upstream(chunk, sha256);
  mark_have(now, chunk, ChunkSource::upstream);
  chunk_departed(now, chunk);
  if (ended_) return;
  const auto again = fetches_.find(id);  // proof of the blob, or its refutation, ends all fetches
  if (again != fetches_.end() && again->second.cancel_at_chunk) cancel_fetch(id);
  context_.claims_dirty = true;
}

void Swarm::fetch_ended(TimePoint now, FetchId id, const FetchEnd& end) {
  context_.fetches.erase(id);
  const auto it = fetches_.find(id);
  if (it == fetches_.end()) return;
  const Fetch fetch = it->second;
  fetches_.erase(it);
  for (std::uint32_t i = fetch.next; i < fetch.end; ++i) refresh_open(ChunkIndex{i});
  context_.claims_dirty = pump_all_ = true;
  if (fetch.kind == FetchKind::claimed && !owned_.contains(fetch.extent))
    context_.claims.fetch_over(now, claims_tag_, fetch.extent);
  if (fetch.canceled) return;
  using Kind = FetchEnd::Kind;
  const bool is_short = end.kind == Kind::complete && (fetch.end == 0 || fetch.next < fetch.end);
  if (end.kind == Kind::complete && !is_short)
    return;  // chunks before its start may still come from peers
  if (fetch.kind == FetchKind::claimed) release_extent(now, fetch.extent);
  if (fetch.kind == FetchKind::whole) release_whole(now);
  if (end.kind == Kind::canceled) return;
  if (end.kind == Kind::unauthorized) {
    no_credential_ = true;
    if (candidates_.empty() && peers_.empty()) fail(now, SwarmError::unauthorized);
    return;
  }
  if (end.kind == Kind::not_found) {
    not_found_ = true;
    const bool hope = std::any_of(peers_.begin(), peers_.end(), [](const auto& entry) {
      return entry.second.all || !entry.second.have.none();
    });
    if (!hope && downloads_.empty()) fail(now, SwarmError::not_found);
    return;
  }
  ++upstream_failures_;
  pause_claims(now, end.retry_after);
}

void Swarm::pause_claims(TimePoint now, std::optional<Duration> retry_after) {
  Duration pause =
      std::min(backoff_max, backoff_first * (std::int64_t{1} << std::min(backoffs_, 5U)));
  ++backoffs_;
  if (retry_after) pause = std::max(pause, std::min(retry_after_max, *retry_after));
  const double jitter = 0.75 + 0.5 * context_.prng.unit();
  claims_paused_until_ = now + from_seconds(to_seconds(pause) * jitter);
}

// Whether waiting may still bring bytes although this node can't or mustn't ask upstream.
bool Swarm::has_hope() const {
  if (!downloads_.empty() || holders_known()) return true;
  const bool fetching = std::any_of(fetches_.begin(), fetches_.end(),
                                    [](const auto& entry) { return !entry.second.canceled; });
  return fetching || std::any_of(peers_.begin(), peers_.end(), [](const auto& entry) {
           return entry.second.all || !entry.second.have.none();
         });
}

// An owned extent whose rest should come from peers, but those are gone: fetch the rest.
void Swarm::resume_stalled_extents(TimePoint now) {
  if (!opened_) return;
  const std::set<ExtentIndex> owned = owned_;
  for (const ExtentIndex extent : owned) {
    if (is_fetching(extent) ||
        std::find(waiting_.begin(), waiting_.end(), extent) != waiting_.end()) {
      continue;
    }
    if (no_credential_ || not_found_) {
      release_extent(now, extent);
      continue;
    }
    const std::uint32_t first = to_value(layout_.extent_first_chunk(extent));
    context_.claims.progress(now, claims_tag_, extent,
                             have_.run_length(first) * layout_.chunk_bytes());
    if (now >= claims_paused_until_) start_extent(now, extent, FetchKind::claimed);
  }
}

// Nobody else's word counts, and only one node is to fetch: the others wait until it has proven.
void Swarm::fetch_whole(TimePoint now) {
  if (!upstream_usable(now)) return;
  if (!size_) {
    if (fetches_.empty()) start_unsized(now, FetchKind::whole);
    return;
  }
  if (!opened_) return;
  while (fetches_.size() < context_.config.extents_in_flight_max) {
    const auto extent = lowest_missing_extent();
    if (!extent) return;
    const std::size_t before = fetches_.size();
    start_extent(now, *extent, FetchKind::whole);
    if (fetches_.size() == before) return;
  }
}

void Swarm::release_whole(TimePoint now) {
  if (!whole_mine_) return;
  whole_mine_ = false;
  context_.claims.release(now, claims_tag_, whole_claim);
  context_.claims_dirty = true;
}

void Swarm::bypass(TimePoint now) {
  if (!upstream_usable(now)) return;
  if (careful_) {
    // Whoever has the claim does not bring anything: liveness beats egress.
    const Duration patience =
        careful_patience + std::chrono::milliseconds(size_.value_or(0) / careful_bytes_per_ms);
    const TimePoint since = std::max(careful_since_, sure_peer_progress_);
    if (!whole_mine_ && fetches_.empty() && now - since >= patience) {
      ++context_.stats.bypasses;
      whole_mine_ = true;
    }
    return;
  }
  if (!size_) {
    const bool waits = std::any_of(readers_.begin(), readers_.end(), [&](const auto& entry) {
      return now - entry.second.waiting_since >= patience_;
    });
    // A request that waits for its head for so long may still get one: it is left alone.
    const bool hedged = std::any_of(fetches_.begin(), fetches_.end(), [&](const auto& entry) {
      const Fetch& fetch = entry.second;
      return !fetch.canceled &&
             (fetch.kind == FetchKind::bypass || now - fetch.last_progress < patience_);
    });
    if (waits && !hedged) {
      ++context_.stats.bypasses;
      for (auto& [id, reader] : readers_) reader.bypass_chunks = 1;  // goes on as one rescued
      start_unsized(now, FetchKind::bypass);
    }
    return;
  }
  if (!opened_) return;
  for (auto& [id, reader] : readers_) {
    if (reader.offset < *size_) bypass_reader(now, reader);
  }
}

void Swarm::bypass_lazy(TimePoint now) {
  if (!upstream_usable(now)) return;
  for (auto& [id, reader] : readers_) {
    if (reader.lazy && reader.offset < *size_) bypass_reader(now, reader);
  }
}

Duration Swarm::patience_of(TimePoint now, const Reader& reader, ChunkIndex head) const {
  const bool peers_serve = someone_has(now, head) || (holders_known() && !holders_failed(now));
  return reader.lazy && peers_serve ? patience_ : reader.patience;
}

// Nobody near has the chunk after a rescued one either, so a reader that was rescued does not wait
// again; each time
// more is asked, so that a lost extent does not become one request per chunk.
void Swarm::bypass_reader(TimePoint now, Reader& reader) {
  const ChunkIndex head = layout_.chunk_at(reader.offset);
  const std::uint32_t first = to_value(head);
  const bool flowing = std::any_of(fetches_.begin(), fetches_.end(), [&](const auto& entry) {
    const Fetch& fetch = entry.second;
    return !fetch.canceled && first >= fetch.next && first < fetch.end &&
           now - fetch.last_progress < patience_;
  });
  if (has_chunk(head) || flowing) {
    reader.waiting_since = now;
    return;
  }
  const bool was_rescued =
      reader.bypass_chunks > 0 && !someone_has(now, head) && now - peer_progress_ >= patience_;
  if (!was_rescued && now - reader.waiting_since < patience_of(now, reader, head)) return;
  reader.waiting_since = now;
  reader.bypass_chunks = was_rescued ? std::min(2 * reader.bypass_chunks, bypass_chunks_max) : 1;
  const ExtentIndex extent = layout_.extent_of(head);
  const std::uint32_t extent_end =
      to_value(layout_.extent_first_chunk(extent)) + layout_.extent_chunk_count(extent);
  std::uint32_t end = first + 1;
  while (end < extent_end && end < first + reader.bypass_chunks && open_.test(end) &&
         !someone_has(now, ChunkIndex{end})) {
    ++end;
  }
  ++context_.stats.bypasses;
  start_fetch(now, FetchKind::bypass, extent, first, end);
}

// A fetch of unknown size may ask for chunks that the opened blob turned out to hold.
void Swarm::trim_fetches(TimePoint now) {
  std::vector<std::pair<FetchId, Fetch>> superfluous;
  for (const auto& [id, fetch] : fetches_) {
    if (!fetch.canceled && !no_range_ && fetch.next < fetch.end && have_.test(fetch.next)) {
      superfluous.emplace_back(id, fetch);
    }
  }
  for (const auto& [id, fetch] : superfluous) {
    cancel_fetch(id);
    if (fetch.kind == FetchKind::claimed) start_extent(now, fetch.extent, fetch.kind);
  }
}

}  // namespace waggle::transfer
