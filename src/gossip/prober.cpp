// The protocol period.
#include "gossip/prober.hpp"

#include <algorithm>
#include <utility>

namespace waggle::gossip {

Prober::Prober(TimePoint now, std::uint64_t seed) : prng_(seed) {
  // Nodes that start together must not probe in step.
  period_end_ = now + from_seconds(to_seconds(period) * prng_.unit());
}

void Prober::add(const NodeId& target) {
  // Room for an eighth more, not for twice as many: simulations hold thousands of rounds.
  if (round_.size() == round_.capacity()) round_.reserve(round_.size() + round_.size() / 8 + 4);
  round_.push_back(target);
  // Whoever stood at its place goes to the end: still in this round.
  const auto at = next_ + static_cast<std::size_t>(prng_.below(round_.size() - next_));
  std::swap(round_[at], round_.back());
}

void Prober::remove(const NodeId& target) {
  auto it = std::find(round_.begin(), round_.end(), target);
  if (it == round_.end()) return;
  const auto first_left = round_.begin() + static_cast<std::ptrdiff_t>(next_);
  if (it < first_left) {
    // The gap moves to the border between the probed and the rest.
    *it = *(first_left - 1);
    it = first_left - 1;
    --next_;
  }
  *it = round_.back();
  round_.pop_back();
  if (probe_ && probe_->target == target) abandon();
}

void Prober::hurry(const NodeId& target) {
  const auto it = std::find(round_.begin(), round_.end(), target);
  if (it == round_.end()) return;
  if (it < round_.begin() + static_cast<std::ptrdiff_t>(next_)) --next_;
  std::iter_swap(it, round_.begin() + static_cast<std::ptrdiff_t>(next_));
}

void Prober::abandon() {
  probe_.reset();
  helpers_at_.reset();
  nacks_missing_ = 0;
  asked_ = false;
}

void Prober::stop() {
  abandon();
  period_end_.reset();
}

std::optional<TimePoint> Prober::poll_timeout() const {
  if (!helpers_at_) return period_end_;
  return period_end_ ? std::min(*helpers_at_, *period_end_) : *helpers_at_;
}

std::optional<Prober::Step> Prober::next_step(TimePoint now) {
  if (helpers_at_ && *helpers_at_ <= now) {
    helpers_at_.reset();
    if (probe_) return Step{StepKind::ask_helpers, probe_->target, probe_->seq};
  }
  if (!period_end_ || *period_end_ > now) return std::nullopt;
  if (probe_) {
    const Step failed{StepKind::failed, probe_->target, probe_->seq};
    // Helpers that all say NACK in time show that this node hears well; their silence shows the
    // opposite.
    worsen(asked_ && nacks_missing_ == 0 ? 0 : std::max<std::size_t>(1, nacks_missing_));
    abandon();
    return failed;
  }
  return begin(now);
}

std::optional<Prober::Step> Prober::begin(TimePoint now) {
  period_end_ = now + period * (1 + static_cast<int>(score_));
  if (round_.empty()) return std::nullopt;
  if (next_ >= round_.size()) {
    next_ = 0;
    prng_.shuffle(std::span<NodeId>(round_));
  }
  probe_ = Step{StepKind::ping, round_[next_++], take_seq()};
  helpers_at_ = now + direct_timeout;
  return probe_;
}

bool Prober::handle_ack(std::uint64_t seq, const NodeId& target) {
  if (!probe_ || probe_->seq != seq || probe_->target != target) return false;
  abandon();
  if (score_ > 0) --score_;
  return true;
}

void Prober::handle_nack(std::uint64_t seq) {
  if (probe_ && probe_->seq == seq && nacks_missing_ > 0) --nacks_missing_;
}

void Prober::worsen(std::size_t by) {
  score_ = static_cast<unsigned>(std::min<std::size_t>(score_max, score_ + by));
}

}  // namespace waggle::gossip
