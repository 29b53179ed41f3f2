// The model's rules, each after the function of memberlist that it stands for.
#include "sim/memberlist_model.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace waggle::bench {
namespace {

constexpr std::size_t state_message_bytes =
    60;  ///< suspect{}, dead{} with names of some 15 letters
constexpr std::size_t message_overhead_bytes = 2;  ///< in a compound message
constexpr double push_pull_scale_from = 32;

}  // namespace

MemberlistModel::MemberlistModel(const MemberlistConfig& config)
    : config_(config), prng_(config.seed), nodes_(config.nodes), up_count_(config.nodes) {
  const auto within = [&](Duration interval) {
    return now_ + Duration(static_cast<Duration::rep>(
                      prng_.below(static_cast<std::uint64_t>(interval.count()))));
  };
  for (std::uint32_t i = 0; i < config.nodes; ++i) {
    nodes_[i].views.resize(config.nodes, State::alive);
    at(within(config.gossip_interval), What::gossip, i);
    at(within(config.probe_interval), What::probe, i);
    at(within(push_pull_time()), What::push_pull, i);
  }
}

void MemberlistModel::at(TimePoint time, What what, std::uint32_t node, std::uint32_t subject,
                         std::vector<std::uint32_t> messages) {
  events_.push({time, next_++, what, node, subject, std::move(messages)});
}

std::uint32_t MemberlistModel::broadcast(std::uint32_t node, std::size_t bytes) {
  Message message{Kind::user, node, node, bytes, 1, std::vector<bool>(nodes_.size())};
  message.has[node] = true;
  queue(node, std::move(message));
  return static_cast<std::uint32_t>(messages_.size() - 1);
}

void MemberlistModel::kill(std::uint32_t node) {
  if (!std::exchange(nodes_[node].up, false)) return;
  --up_count_;
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[node].views[i] == State::dead) --nodes_[i].gone_from;
  }
}

void MemberlistModel::run_for(Duration duration) {
  const TimePoint end = now_ + duration;
  while (events_.top().at <= end) {
    Event event = events_.top();
    events_.pop();
    now_ = event.at;
    if (nodes_[event.node].up) handle(event);
  }
  now_ = end;
}

void MemberlistModel::handle(Event& event) {
  const std::uint32_t node = event.node;
  switch (event.what) {
    case What::gossip:
      gossip(node);
      at(now_ + config_.gossip_interval, What::gossip, node);
      break;
    case What::probe:
      probe(node);
      at(now_ + config_.probe_interval, What::probe, node);
      break;
    case What::verdict:
      if (nodes_[node].views[event.subject] != State::dead) suspect(node, event.subject, node);
      break;
    case What::packet:
      for (const std::uint32_t message : event.messages) receive(node, message);
      break;
    case What::suspicion: {
      const auto found = nodes_[node].suspicions.find(event.subject);
      if (found == nodes_[node].suspicions.end()) break;
      const TimePoint due =
          found->second.began + suspicion_time(found->second.confirmers.size() - 1);
      if (due > now_) {
        at(due, What::suspicion, node, event.subject);
      } else {
        declare_dead(node, event.subject);
      }
      break;
    }
    case What::push_pull:
      push_pull(node);
      at(now_ + push_pull_time(), What::push_pull, node);
      break;
  }
}

/// gossip(): three random members get what fits one packet.
void MemberlistModel::gossip(std::uint32_t node) {
  for (std::size_t i = 0; i < config_.gossip_nodes && !nodes_[node].queue.empty(); ++i) {
    const auto to = random_other(node);
    if (to) send(*to, take(node, config_.packet_bytes));
  }
}

/// probeNode(): the next of a shuffled round; who is dead is found to be after the interval.
void MemberlistModel::probe(std::uint32_t node) {
  Node& prober = nodes_[node];
  for (std::size_t tried = 0; tried < nodes_.size(); ++tried) {
    if (prober.next_probe >= prober.round.size()) {
      prober.round.resize(nodes_.size());
      for (std::uint32_t i = 0; i < nodes_.size(); ++i) prober.round[i] = i;
      prng_.shuffle(std::span(prober.round));
      prober.next_probe = 0;
    }
    const std::uint32_t target = prober.round[prober.next_probe++];
    if (target == node || prober.views[target] == State::dead) continue;
    if (!nodes_[target].up) {
      at(now_ + config_.probe_interval, What::verdict, node, target);
      return;
    }
    send(target, take(node, config_.packet_bytes / 2));
    send(node, take(target, config_.packet_bytes / 2));
    return;
  }
}

/// pushPull(): both take over what the other knows; the dead are suspects first.
void MemberlistModel::push_pull(std::uint32_t node) {
  const auto other = random_other(node);
  if (!other || !nodes_[*other].up) return;
  merge(node, nodes_[*other]);
  merge(*other, nodes_[node]);
}

void MemberlistModel::merge(std::uint32_t node, const Node& other) {
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    if (other.views[i] != State::alive && nodes_[node].views[i] != State::dead) {
      suspect(node, i, static_cast<std::uint32_t>(&other - nodes_.data()));
    }
  }
}

void MemberlistModel::receive(std::uint32_t node, std::uint32_t number) {
  Message& message = messages_[number];
  switch (message.kind) {
    case Kind::user:
      if (message.has[node]) return;
      message.has[node] = true;
      ++message.reached;
      queue(node, number);
      break;
    case Kind::suspect:
      suspect(node, message.subject, message.from);
      break;
    case Kind::dead:
      declare_dead(node, message.subject);
      break;
  }
}

/// suspectNode(): the first begins the timer, two more that say so shorten it and are passed on.
void MemberlistModel::suspect(std::uint32_t node, std::uint32_t subject, std::uint32_t from) {
  Node& self = nodes_[node];
  if (self.views[subject] == State::dead || subject == node) return;
  const std::size_t confirmations_wanted = config_.suspicion_mult - 2;
  auto found = self.suspicions.find(subject);
  if (found == self.suspicions.end()) {
    self.views[subject] = State::suspect;
    self.suspicions.emplace(subject, Suspicion{now_, {from}});
    at(now_ + suspicion_time(0), What::suspicion, node, subject);
  } else {
    auto& confirmers = found->second.confirmers;
    if (confirmers.size() > confirmations_wanted) return;
    if (std::find(confirmers.begin(), confirmers.end(), from) != confirmers.end()) return;
    confirmers.push_back(from);
    at(std::max(now_, found->second.began + suspicion_time(confirmers.size() - 1)), What::suspicion,
       node, subject);
  }
  queue(node, Message{Kind::suspect, subject, from, state_message_bytes, 0, {}});
}

void MemberlistModel::declare_dead(std::uint32_t node, std::uint32_t subject) {
  Node& self = nodes_[node];
  if (self.views[subject] == State::dead || subject == node) return;
  self.views[subject] = State::dead;
  self.suspicions.erase(subject);
  ++nodes_[subject].gone_from;
  queue(node, Message{Kind::dead, subject, node, state_message_bytes, 0, {}});
}

void MemberlistModel::queue(std::uint32_t node, Message message) {
  messages_.push_back(std::move(message));
  queue(node, static_cast<std::uint32_t>(messages_.size() - 1));
}

/// TransmitLimitedQueue: news about a member replaces what was queued about it.
void MemberlistModel::queue(std::uint32_t node, std::uint32_t number) {
  const Message& message = messages_[number];
  auto& queue = nodes_[node].queue;
  if (message.kind != Kind::user) {
    std::erase_if(queue, [&](const Queued& queued) {
      const Message& other = messages_[queued.message];
      return other.kind != Kind::user && other.subject == message.subject;
    });
  }
  queue.push_back({number, 0});
}

std::vector<std::uint32_t> MemberlistModel::take(std::uint32_t node, std::size_t room) {
  auto& queue = nodes_[node].queue;
  const auto limit =
      config_.retransmit_mult *
      static_cast<std::size_t>(std::ceil(std::log10(static_cast<double>(nodes_.size() + 1))));
  std::stable_sort(queue.begin(), queue.end(), [](const Queued& a, const Queued& b) {
    return a.transmits != b.transmits ? a.transmits < b.transmits : a.message > b.message;
  });
  std::vector<std::uint32_t> taken;
  for (Queued& queued : queue) {
    const std::size_t bytes = messages_[queued.message].bytes + message_overhead_bytes;
    if (bytes > room) continue;
    room -= bytes;
    ++queued.transmits;
    taken.push_back(queued.message);
  }
  std::erase_if(queue, [&](const Queued& queued) { return queued.transmits >= limit; });
  return taken;
}

void MemberlistModel::send(std::uint32_t to, std::vector<std::uint32_t> messages) {
  if (messages.empty() || prng_.chance(config_.loss)) return;
  const auto spread = static_cast<std::uint64_t>((config_.delay_max - config_.delay_min).count());
  const Duration delay =
      config_.delay_min + Duration(static_cast<Duration::rep>(prng_.below(spread + 1)));
  at(now_ + delay, What::packet, to, 0, std::move(messages));
}

/// suspicion.go: from max to min on a logarithm of the confirmations.
Duration MemberlistModel::suspicion_time(std::size_t confirmations) const {
  const double scale = std::max(1.0, std::log10(static_cast<double>(nodes_.size())));
  const double least =
      static_cast<double>(config_.suspicion_mult) * scale * to_seconds(config_.probe_interval);
  const double most = least * static_cast<double>(config_.suspicion_max_mult);
  const auto wanted = static_cast<double>(config_.suspicion_mult - 2);
  const double share = std::log(static_cast<double>(confirmations) + 1) / std::log(wanted + 1);
  return from_seconds(std::max(least, most - share * (most - least)));
}

/// pushPullScale(): above 32 members a multiple that grows with log2.
Duration MemberlistModel::push_pull_time() const {
  const auto count = static_cast<double>(config_.nodes);
  if (count <= push_pull_scale_from) return config_.push_pull_interval;
  const double times = std::ceil(std::log2(count) - std::log2(push_pull_scale_from)) + 1;
  return config_.push_pull_interval * static_cast<Duration::rep>(times);
}

std::optional<std::uint32_t> MemberlistModel::random_other(std::uint32_t node) {
  // kRandomNodes(): gives up after some tries.
  for (std::size_t tried = 0; tried < 3 * nodes_.size(); ++tried) {
    const auto other = static_cast<std::uint32_t>(prng_.below(nodes_.size()));
    if (other != node && nodes_[node].views[other] != State::dead) return other;
  }
  return std::nullopt;
}

}  // namespace waggle::bench
