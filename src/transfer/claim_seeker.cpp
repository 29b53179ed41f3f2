// Asking, confirming, keeping alive.
#include "transfer/claim_seeker.hpp"

#include "base/assert.hpp"
#include "transfer/claim_table.hpp"

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

namespace waggle::transfer {
namespace {

using namespace std::chrono_literals;
using Reason = ReleaseMessage::Reason;

// Those that want a blob at once are known to each other after the first few.
constexpr std::array<Duration, 4> want_intervals = {100ms, 200ms, 500ms, 1s};
constexpr std::array<Duration, 3> ask_patience = {50ms, 100ms, 200ms};
constexpr std::size_t asks_per_rank = 2;
constexpr Duration silence_memory = 5s;
constexpr Duration unreachable_after = 2s;
constexpr Duration waiting_refresh = 500ms;  ///< a pushed grant may have been lost
constexpr std::size_t confirm_rounds_max = 6;
constexpr int done_repeats = 3;

}  // namespace

ClaimSeeker::ClaimSeeker(const SwarmTag& tag, std::uint64_t incarnation, std::uint64_t seed,
                         bool is_brisk)
    : tag_(tag), incarnation_(incarnation), prng_(seed), is_brisk_(is_brisk) {}

bool ClaimSeeker::is_registrar(const NodeId& node) const {
  return std::find(registrars_.begin(), registrars_.end(), node) != registrars_.end();
}

/// Votes that make a claim ours, the leader's included. With two registrars rank 0 decides and rank
/// 1 is told.
std::size_t ClaimSeeker::majority() const { return registrars_.size() >= 3 ? 2 : 1; }

void ClaimSeeker::send_all(const ClaimBody& body) {
  for (const auto& registrar : registrars_) send(registrar, body);
}

void ClaimSeeker::set_registrars(TimePoint now, std::vector<NodeId> ranked) {
  if (ranked == registrars_) return;
  registrars_ = std::move(ranked);
  if (!wanting_) return;
  send_want(now);
  if (!held_.empty()) send_progress(now);
  if (phase_ == Phase::asking || phase_ == Phase::waiting) {
    phase_ = Phase::idle;
    start_asking(now);
  } else if (phase_ == Phase::confirming) {
    send_confirm(now);
  }
}

void ClaimSeeker::want(TimePoint now, const WantState& state) {
  const bool first = !wanting_;
  const bool asked_more = state.demand > 0;
  wanting_ = true;
  const std::optional<std::uint64_t> known = state_.size;
  state_ = state;
  if (!state_.size) state_.size = known;
  if (first) send_want(now);
  if (!asked_more && (phase_ == Phase::asking || phase_ == Phase::waiting)) stop_asking();
  if (asked_more && phase_ == Phase::idle && !timers_.armed(Timer::ask)) start_asking(now);
}

void ClaimSeeker::unwant(bool completed) {
  if (!wanting_) return;
  wanting_ = false;
  send_all(UnwantMessage{incarnation_, completed});
  held_.clear();
  pending_.clear();
  repeats_.clear();
  phase_ = Phase::idle;
  timers_ = {};
  wants_sent_ = 0;
}

void ClaimSeeker::size_known(TimePoint now, std::uint64_t size, bool whole_stream) {
  state_.size = size;
  whole_stream_ = whole_stream_ || whole_stream;
  if (wanting_) send_progress(now);
}

void ClaimSeeker::progress(TimePoint now, ExtentIndex extent, std::uint64_t bytes) {
  const auto held = held_.find(extent);
  if (held == held_.end()) return;
  held->second.bytes = std::max(held->second.bytes, bytes);
  if (!timers_.armed(Timer::progress)) timers_.arm(Timer::progress, now + progress_interval);
}

void ClaimSeeker::end_claim(ExtentIndex extent, bool done) {
  const bool was_held = held_.erase(extent) > 0;
  if (!was_held && !done) return;
  if (!wanting_) return;
  send_all(ReleaseMessage{incarnation_, {extent}, done ? Reason::done : Reason::given_back});
  if (!done || repeats_.size() >= claims_per_message_max) return;
  // Were it lost, the extent would be granted again: say so a few times more.
  repeats_[extent] = done_repeats;
}

std::uint64_t ClaimSeeker::claim_bytes(ExtentIndex extent) const {
  if (!state_.size || whole_stream_) return state_.size.value_or(0);
  const BlobLayout layout(*state_.size);
  return to_value(extent) < layout.extent_count() ? layout.extent_size(extent) : 0;
}

void ClaimSeeker::send_want(TimePoint now) {
  WantMessage message;
  message.request = prng_.next() >> 1U;
  message.incarnation = incarnation_;
  message.upstream_bytes = state_.upstream_bytes;
  message.size = state_.size;
  if (state_.extents_done.size() > 0) message.done = DoneWindow(state_.extents_done);
  for (const auto& [extent, held] : held_) {
    if (message.claims.size() < claims_per_message_max)
      message.claims.push_back({extent, held.attempt});
  }
  send_all(message);
  const std::size_t round = is_brisk_ ? wants_sent_++ : want_intervals.size();
  const Duration interval = want_intervals[std::min(round, want_intervals.size() - 1)];
  const auto tenth = static_cast<std::uint64_t>(interval.count() / 10);
  timers_.arm(Timer::want,
              now + interval + Duration(static_cast<Duration::rep>(prng_.below(tenth))));
}

void ClaimSeeker::send_progress(TimePoint now) {
  ProgressMessage message;
  message.incarnation = incarnation_;
  message.size = state_.size;
  message.whole_stream = whole_stream_;
  for (const auto& [extent, held] : held_) {
    if (message.items.size() < claims_per_message_max)
      message.items.push_back({{extent, held.attempt}, held.bytes});
  }
  if (!held_.empty() || message.size) send_all(message);
  repeat_done();
  if (!held_.empty() || !repeats_.empty()) timers_.arm(Timer::progress, now + progress_interval);
}

void ClaimSeeker::repeat_done() {
  if (repeats_.empty()) return;
  ReleaseMessage message{incarnation_, {}, Reason::done};
  for (auto it = repeats_.begin(); it != repeats_.end();) {
    message.extents.push_back(it->first);
    it = --it->second == 0 ? repeats_.erase(it) : std::next(it);
  }
  send_all(message);
}

void ClaimSeeker::start_asking(TimePoint now) {
  if (registrars_.empty()) return;
  request_ = prng_.next() >> 1U;
  asking_since_ = now;
  heard_ = false;
  ranks_tried_ = 0;
  attempts_at_rank_ = 0;
  phase_ = Phase::asking;
  rank_ = 0;
  // Those that were silent a moment ago come last.
  for (std::size_t i = 0; i + 1 < registrars_.size(); ++i) {
    const auto silent = silent_until_.find(registrars_[rank_]);
    if (silent == silent_until_.end() || silent->second <= now) break;
    ++rank_;
  }
  ask(now);
}

void ClaimSeeker::ask(TimePoint now) {
  leader_ = registrars_[rank_ % registrars_.size()];
  send(leader_, ClaimMessage{request_, incarnation_, state_.upstream_bytes,
                             std::min<std::uint32_t>(state_.demand, claims_per_message_max),
                             state_.holders_failed});
  const Duration patience = ask_patience[std::min(attempts_at_rank_, ask_patience.size() - 1)];
  timers_.arm(Timer::ask, now + (phase_ == Phase::waiting ? waiting_refresh : patience));
}

// A registrar owes no answer to who needs nothing: its silence then would look like its death.
void ClaimSeeker::stop_asking() {
  phase_ = Phase::idle;
  timers_.disarm(Timer::ask);
  send(leader_, ClaimMessage{request_, incarnation_, state_.upstream_bytes, 0, false});
}

void ClaimSeeker::next_rank(TimePoint now) {
  silent_until_[leader_] = now + silence_memory;
  ++rank_;
  ++ranks_tried_;
  attempts_at_rank_ = 0;
  if (now - asking_since_ >= unreachable_after && ranks_tried_ >= registrars_.size()) {
    outputs_.push_back(ClaimsEvent(TrioUnreachable{tag_}));
    phase_ = Phase::idle;
    timers_.arm(Timer::ask, now + unreachable_after);
    return;
  }
  ask(now);
}

void ClaimSeeker::ask_timeout(TimePoint now) {
  switch (phase_) {
    case Phase::idle:  // a back-off ended
      if (wanting_ && state_.demand > 0) start_asking(now);
      return;
    case Phase::asking:
      if (++attempts_at_rank_ >= asks_per_rank) return next_rank(now);
      return ask(now);
    case Phase::waiting:
      // The leader may be gone: ask it again, and if it stays silent the next one.
      phase_ = Phase::asking;
      asking_since_ = now;
      attempts_at_rank_ = 0;
      ranks_tried_ = 0;
      return ask(now);
    case Phase::confirming:
      if (++confirm_rounds_ >= confirm_rounds_max) return settle_pending(now, true);
      return send_confirm(now);
  }
}

void ClaimSeeker::handle(TimePoint now, const NodeId& from, const ClaimBody& body) {
  if (!wanting_ || !is_registrar(from)) return;
  silent_until_.erase(from);
  if (const auto* news = std::get_if<NewsMessage>(&body)) {
    if (news->size && !state_.size) state_.size = news->size;
    outputs_.push_back(ClaimsEvent(SwarmNews{tag_, news->size, news->wanters, news->holders}));
  } else if (const auto* grant = std::get_if<GrantMessage>(&body)) {
    handle_grant(now, from, *grant);
  } else if (const auto* vote = std::get_if<VoteMessage>(&body)) {
    handle_vote(now, from, *vote);
  }
}

void ClaimSeeker::handle_grant(TimePoint now, const NodeId& from, const GrantMessage& message) {
  const bool expected = message.request == request_ && from == leader_ &&
                        (phase_ == Phase::asking || phase_ == Phase::waiting);
  if (!expected) {
    // Too late: another leader or no need any more. What we do not hold goes back.
    ReleaseMessage back{incarnation_, {}, Reason::given_back};
    for (const auto& claim : message.grants) {
      if (!held_.contains(claim.extent) && !pending_.contains(claim.extent))
        back.extents.push_back(claim.extent);
    }
    if (!back.extents.empty()) send(from, std::move(back));
    return;
  }
  if (message.grants.empty()) {
    if (waited_request_ != request_) ++waited_;
    waited_request_ = request_;
    phase_ = Phase::waiting;
    timers_.arm(Timer::ask, now + waiting_refresh);
    return;
  }
  pending_.clear();
  for (const auto& claim : message.grants) {
    pending_[claim.extent] = {claim.attempt, {from}, {}};
    outputs_.push_back(Permit{claim.extent, true});
  }
  phase_ = Phase::confirming;
  confirm_rounds_ = 0;
  send_confirm(now);
}

void ClaimSeeker::send_confirm(TimePoint now) {
  ConfirmMessage message{request_, incarnation_, {}};
  for (const auto& [extent, pending] : pending_)
    message.claims.push_back({extent, pending.attempt});
  for (const auto& registrar : registrars_) {
    const bool answered = std::all_of(pending_.begin(), pending_.end(), [&](const auto& entry) {
      return entry.second.yes.contains(registrar) || entry.second.no.contains(registrar);
    });
    if (!answered) send(registrar, message);
  }
  timers_.arm(Timer::ask, now + ask_patience[std::min(confirm_rounds_, ask_patience.size() - 1)]);
  settle_pending(now, false);
}

void ClaimSeeker::handle_vote(TimePoint now, const NodeId& from, const VoteMessage& message) {
  for (const auto& vote : message.votes) {
    const auto pending = pending_.find(vote.claim.extent);
    if (message.request == request_ && pending != pending_.end() &&
        pending->second.attempt == vote.claim.attempt) {
      (vote.yes ? pending->second.yes : pending->second.no).insert(from);
      continue;
    }
    const auto held = held_.find(vote.claim.extent);
    if (vote.yes || held == held_.end() || held->second.attempt != vote.claim.attempt) continue;
    held->second.deniers.insert(from);
    if (held->second.deniers.size() < majority()) continue;
    held_.erase(held);
    outputs_.push_back(ClaimsEvent(ExtentRevoked{tag_, vote.claim.extent}));
  }
  if (phase_ == Phase::confirming) settle_pending(now, false);
}

void ClaimSeeker::settle_pending(TimePoint now, bool accept_silence) {
  const std::size_t needed = majority();
  ReleaseMessage lost{incarnation_, {}, Reason::elsewhere};
  bool is_size_needed = false;
  for (auto it = pending_.begin(); it != pending_.end();) {
    const auto& [extent, pending] = *it;
    // Registrars that never answer must not stop the pull: liveness beats egress.
    const bool won = pending.yes.size() >= needed || (accept_silence && pending.no.empty());
    const bool beaten =
        registrars_.size() - std::min(registrars_.size(), pending.no.size()) < needed ||
        (accept_silence && !won);
    if (won) {
      // Who begins to fetch needs to know all that want it.
      if (held_.empty()) timers_.arm(Timer::want, now);
      held_[extent] = {pending.attempt, 0, {}};
      ++granted_;
      if (state_.demand > 0) --state_.demand;
      is_size_needed = is_size_needed || (!state_.size && extent != ExtentIndex{0});
      outputs_.push_back(ClaimsEvent(ExtentGranted{tag_, extent, pending.attempt}));
    } else if (beaten) {
      lost.extents.push_back(extent);
      outputs_.push_back(Permit{extent, false});
    } else {
      ++it;
      continue;
    }
    it = pending_.erase(it);
  }
  if (!lost.extents.empty()) send(leader_, lost);
  if (is_size_needed) send_want(now);  // its answer tells where the extent lies
  if (!pending_.empty()) return;
  phase_ = Phase::idle;
  timers_.disarm(Timer::ask);
  if (!held_.empty() && !timers_.armed(Timer::progress))
    timers_.arm(Timer::progress, now + progress_interval);
  if (!lost.extents.empty()) {
    back_off(now);
  } else if (wanting_ && state_.demand > 0) {
    start_asking(now);
  }
}

void ClaimSeeker::back_off(TimePoint now) {
  timers_.arm(Timer::ask,
              now + 5ms + Duration(static_cast<Duration::rep>(prng_.below(20'000'000))));
}

void ClaimSeeker::handle_timeout(TimePoint now) {
  while (const auto timer = timers_.pop_due(now)) {
    switch (*timer) {
      case Timer::want:
        send_want(now);
        break;
      case Timer::ask:
        ask_timeout(now);
        break;
      case Timer::progress:
        if (!held_.empty() || !repeats_.empty()) send_progress(now);
        break;
      case Timer::count:
        break;
    }
  }
}

std::optional<ClaimSeeker::Output> ClaimSeeker::poll_output() {
  if (outputs_.empty()) return std::nullopt;
  Output output = std::move(outputs_.front());
  outputs_.pop_front();
  return output;
}

void ClaimSeeker::check_invariants() const {
  for (const auto& [extent, pending] : pending_)
    WAGGLE_ASSERT(!held_.contains(extent) || pending.attempt > 0);
  WAGGLE_ASSERT(phase_ != Phase::confirming || !pending_.empty());
  WAGGLE_ASSERT(held_.empty() || timers_.armed(Timer::progress));
}

}  // namespace waggle::transfer
