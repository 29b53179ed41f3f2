// Lives, sessions and common knowledge of a large virtual swarm.
#include "sim/swarm_world.hpp"

#include "base/assert.hpp"
#include "sim/swarm_node.hpp"

#include <algorithm>

namespace waggle::sim {
namespace {

using namespace std::chrono_literals;

constexpr Duration dial_timeout = 3s;

std::vector<PortRates> all_ports(const SwarmWorldConfig& config) {
  std::vector<PortRates> ports(config.node_count, config.node);
  ports.push_back({config.origin_rate, config.origin_rate});
  return ports;
}

}  // namespace

SwarmWorld::SwarmWorld(const SwarmWorldConfig& config)
    : config_(config),
      links_(events_, config.link, all_ports(config)),
      prng_(mix_seed(config.seed ^ 0x737761726dU)),
      nodes_(config.node_count) {
  SeededRandomSource random(mix_seed(config.seed ^ 0x6964U));
  for (NodeIndex i = 0; i < config.node_count; ++i) {
    identities_.push_back(Identity::generate(random));
    indexes_.emplace(identities_[i].node_id(), i);
    members_.push_back(identities_[i].node_id());
  }
  std::sort(members_.begin(), members_.end());
  for (NodeIndex i = 0; i < config.node_count; ++i) start_node(i);
}

SwarmWorld::~SwarmWorld() = default;

void SwarmWorld::start_node(NodeIndex index) {
  nodes_[index] = std::make_unique<SwarmNode>(*this, index);
}

const std::vector<SwarmRead>& SwarmWorld::reads(NodeIndex node) const {
  return nodes_[node]->reads();
}

transfer::ExchangeStats SwarmWorld::stats(NodeIndex node) const {
  return nodes_[node]->exchange().stats();
}

const SwarmWorld::Traffic& SwarmWorld::traffic(NodeIndex node) const {
  return nodes_[node]->traffic();
}

void SwarmWorld::check_invariants() const {
  for (const auto& node : nodes_) {
    if (node) node->exchange().check_invariants();
  }
}

void SwarmWorld::pull(NodeIndex index, const Blob& blob, std::optional<TimePoint> at) {
  blobs_[blob.digest] = blob;
  ++unfinished_;
  events_.at(at.value_or(now()), [this, index, blob] {
    if (nodes_[index])
      nodes_[index]->open(blob);
    else
      --unfinished_;
  });
}

void SwarmWorld::hold(NodeIndex index, const Blob& blob) {
  blobs_[blob.digest] = blob;
  nodes_[index]->take(blob);
  announced(index, blob);
}

void SwarmWorld::announced(NodeIndex node, const Blob& blob) {
  auto& holders = holders_[blob.digest];
  if (std::find(holders.begin(), holders.end(), node) == holders.end()) holders.push_back(node);
}

void SwarmWorld::crash(NodeIndex index, std::optional<TimePoint> at) {
  events_.at(at.value_or(now()), [this, index] {
    if (!nodes_[index]) return;
    const auto sessions = nodes_[index]->sessions();
    for (const SwarmRead& read : nodes_[index]->reads()) unfinished_ -= read.is_over() ? 0 : 1;
    for (const auto& [id, session] : sessions) {
      links_.close(session.pipe);
      events_.after(config_.resets, [this, session = session] {
        if (nodes_[session.peer]) nodes_[session.peer]->session_closed(session.peer_session);
      });
    }
    nodes_[index].reset();
    events_.after(config_.deaths, [this, index] { died(index); });
  });
}

void SwarmWorld::died(NodeIndex index) {
  const NodeId gone = identities_[index].node_id();
  std::erase(members_, gone);
  for (auto& [digest, holders] : holders_) std::erase(holders, index);
  for (const auto& node : nodes_) {
    if (node) node->members_changed(gone);
  }
}

// As the driver: of two sessions of a pair the one that was dialled by the smaller id stays.
void SwarmWorld::open_session(NodeIndex dialler, NodeIndex acceptor) {
  const bool is_there = nodes_[acceptor] != nullptr;
  events_.after(is_there ? 4 * config_.link.delay : dial_timeout, [this, dialler, acceptor] {
    if (!nodes_[dialler]) return;
    SwarmNode& own = *nodes_[dialler];
    SwarmNode* other = nodes_[acceptor].get();
    const bool has_room = other != nullptr && own.sessions().size() < limits::sessions_max &&
                          other->sessions().size() < limits::sessions_max;
    if (own.session_with(acceptor)) return;
    if (!has_room) return own.dial_failed(acceptor);
    const SessionId here{next_session_++};
    const SessionId there{next_session_++};
    const PipeIndex forth = links_.open(dialler, acceptor);
    const PipeIndex back = links_.open(acceptor, dialler);
    other->session_opened(there, {dialler, here, false, back});
    own.session_opened(here, {acceptor, there, true, forth});
  });
}

void SwarmWorld::close_session(NodeIndex index, SessionId id) {
  const auto found = nodes_[index]->sessions().find(id);
  if (found == nodes_[index]->sessions().end()) return;
  const SwarmNode::Session session = found->second;
  for (const auto& [node, closed] :
       {std::pair(index, id), std::pair(session.peer, session.peer_session)}) {
    events_.after(node == index ? Duration{0} : config_.link.delay,
                  [this, node = node, closed = closed] {
                    if (nodes_[node]) nodes_[node]->session_closed(closed);
                  });
  }
}

const std::vector<Midstate>& SwarmWorld::midstates(const Digest& digest) {
  auto& list = midstates_[digest];
  if (list.empty()) list = true_midstates(blobs_.at(digest));
  return list;
}

void SwarmWorld::run_until(TimePoint end) {
  while (!events_.empty() && events_.next_time() <= end) events_.step();
  events_.advance_to(end);
}

bool SwarmWorld::run_until_done(Duration budget) {
  const TimePoint end = now() + budget;
  while (unfinished_ > 0 && !events_.empty() && events_.next_time() <= end) events_.step();
  return unfinished_ == 0;
}

}  // namespace waggle::sim
