// Nodes' lives, sessions between them, and the loop.
#include "sim/simulator.hpp"

#include "base/assert.hpp"
#include "base/siphash.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace waggle::sim {
namespace {

using namespace std::chrono_literals;

constexpr Duration dial_timeout = 3s;
constexpr Duration dead_session_timeout = 12s;  ///< keepalive of a peer that vanished
constexpr std::uint16_t gossip_port = 7947;

const Simulator* current = nullptr;  ///< whose story is told when an invariant breaks

extern "C" void tell_story(int signal) {
  if (current != nullptr) std::fputs(current->story().c_str(), stderr);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

}  // namespace

Simulator::Simulator(const SimConfig& config)
    : config_(config),
      network_(events_, config.link, config.node_count, config.seed),
      origin_(events_, config.origin),
      trace_(config.keep_trace),
      faults_(*this),
      disks_(config.node_count),
      nodes_(config.node_count),
      lives_(config.node_count),
      paused_until_(config.node_count) {
  SeededRandomSource random(mix_seed(config.seed ^ 0x6964U));
  for (std::size_t i = 0; i < config.node_count; ++i)
    identities_.push_back(Identity::generate(random));
  current = this;
  std::signal(SIGABRT, tell_story);
  story_ = std::to_string(config.node_count) +
           " nodes, ./dev sim --seed=" + std::to_string(config.seed) + "\n";
  if (!config.start_all) return;
  for (NodeIndex i = 0; i < config.node_count; ++i) start_node(i);
}

Simulator::~Simulator() {
  if (current == this) current = nullptr;
}

void Simulator::tell(const std::string& line) {
  std::array<char, 32> time{};
  std::snprintf(time.data(), time.size(), "  %8.3f s  ", to_seconds(now().time_since_epoch()));
  story_ += time.data() + line + "\n";
}

std::vector<NodeIndex> Simulator::registrars(const Digest& digest) const {
  std::vector<NodeId> ids;
  for (const Identity& identity : identities_) ids.push_back(identity.node_id());
  std::vector<NodeIndex> ranked;
  for (const NodeId& id :
       hrw_top(IdKey::for_cluster("waggle"), ids, "blob:", digest.to_wire(), 3)) {
    ranked.push_back(*index_of(id));
  }
  return ranked;
}

Endpoint Simulator::endpoint_of(NodeIndex index) const {
  return Endpoint::v4(10, static_cast<std::uint8_t>(index >> 16U),
                      static_cast<std::uint8_t>(index >> 8U), static_cast<std::uint8_t>(index),
                      gossip_port);
}

std::optional<NodeIndex> Simulator::index_of(const Endpoint& endpoint) const {
  const auto byte = [&](std::size_t i) {
    return std::to_integer<std::uint32_t>(endpoint.address[i]);
  };
  const NodeIndex index = (byte(13) << 16U) | (byte(14) << 8U) | byte(15);
  if (!endpoint.is_v4() || byte(12) != 10 || index >= nodes_.size()) return std::nullopt;
  return index;
}

std::optional<NodeIndex> Simulator::index_of(const NodeId& id) const {
  for (NodeIndex i = 0; i < identities_.size(); ++i) {
    if (identities_[i].node_id() == id) return i;
  }
  return std::nullopt;
}

void Simulator::start_node(NodeIndex index) {
  WAGGLE_ASSERT(nodes_[index] == nullptr);
  ++lives_[index];
  trace_.add(now(), index, "start", lives_[index]);
  nodes_[index] = std::make_unique<Node>(*this, index, disks_[index], identities_[index]);
  // Three static hints, as a bootstrap list would hold.
  std::vector<Endpoint> hints;
  for (NodeIndex i = 0; i < std::min<std::size_t>(3, nodes_.size()); ++i)
    hints.push_back(endpoint_of(i));
  nodes_[index]->start(hints);
}

void Simulator::stop_node(NodeIndex index, bool reset_sessions) {
  if (nodes_[index] == nullptr) return;
  trace_.add(now(), index, reset_sessions ? "crash" : "power_off");
  const auto sessions = nodes_[index]->sessions();
  nodes_[index].reset();
  ++lives_[index];
  paused_until_[index] = {};
  for (const auto& [session, end] : sessions) {
    at_node(end.peer, reset_sessions ? network_.delay() : dead_session_timeout,
            [peer_session = end.peer_session](Node& peer) { peer.session_closed(peer_session); });
  }
}

void Simulator::at_node(NodeIndex index, Duration delay, std::function<void(Node&)> action) {
  at_node_time(index, now() + delay, std::move(action));
}

void Simulator::at_life(NodeIndex index, std::uint64_t life, Duration delay,
                        std::function<void(Node&)> action) {
  events_.after(delay,
                [this, index, life, action = std::move(action)] { run_at(index, life, action); });
}

void Simulator::at_node_time(NodeIndex index, TimePoint at, std::function<void(Node&)> action) {
  events_.at(at, [this, index, life = lives_[index], action = std::move(action)] {
    run_at(index, life, action);
  });
}

void Simulator::run_at(NodeIndex index, std::uint64_t life,
                       const std::function<void(Node&)>& action) {
  if (lives_[index] != life || nodes_[index] == nullptr) return;
  if (paused_until_[index] > now()) {
    events_.at(paused_until_[index], [this, index, life, action] { run_at(index, life, action); });
    return;
  }
  action(*nodes_[index]);
}

void Simulator::open_session(NodeIndex dialler, NodeIndex acceptor) {
  const NodeId target = id_of(acceptor);
  const auto give_up = [this, dialler, target] {
    at_node(dialler, dial_timeout, [target](Node& node) { node.dial_failed(target); });
  };
  if (!network_.connected(dialler, acceptor)) return give_up();
  const Duration round_trip = network_.delay() + network_.delay();
  if (nodes_[acceptor] == nullptr) {
    at_node(dialler, round_trip, [target](Node& node) { node.dial_failed(target); });
    return;
  }
  const SessionId own{next_session_++};
  const SessionId theirs{next_session_++};
  const auto life = lives_[acceptor];
  at_node(dialler, 2 * round_trip, [=, this](Node& node) {
    const bool answers = lives_[acceptor] == life && nodes_[acceptor] != nullptr &&
                         network_.connected(dialler, acceptor);
    if (!answers) return node.dial_failed(target);
    if (paused_until_[acceptor] > now()) return give_up();
    // Of two simultaneous dials the one by the smaller id survives: the other one came first, or
    // is replaced at both ends.
    for (const auto& [session, end] : node.sessions()) {
      if (end.peer == acceptor && !end.outgoing && id_of(acceptor) < id_of(dialler)) return;
    }
    nodes_[acceptor]->session_opened(theirs, id_of(dialler), {dialler, own, false});
    node.session_opened(own, target, {acceptor, theirs, true});
  });
}

void Simulator::close_session(NodeIndex index, SessionId session) {
  Node* node = nodes_[index].get();
  if (node == nullptr) return;
  const auto found = node->sessions().find(session);
  if (found == node->sessions().end()) return;
  const SessionEnd end = found->second;
  at_node(end.peer, network_.delay(),
          [peer_session = end.peer_session](Node& peer) { peer.session_closed(peer_session); });
  // The own end learns of it from the event loop, as a driver would tell it.
  at_node(index, Duration{0}, [session](Node& own) { own.session_closed(session); });
}

void Simulator::pull(NodeIndex index, const Blob& blob, std::optional<TimePoint> at) {
  origin_.add(blob);
  tell("pull " + std::to_string(index) + " " + blob.digest.hex().substr(0, 8) + " size " +
       std::to_string(blob.size) +
       (at ? " at " + std::to_string(to_seconds(at->time_since_epoch())) : ""));
  at_node_time(index, at.value_or(now()),
               [this, blob](Node& node) { node.pull(blob, origin_name_); });
}

void Simulator::step() {
  events_.step();
  if (events_.executed() % config_.check_every != 0) return;
  check();
  // One node's structures at a time, each in its turn.
  const auto& node = nodes_[events_.executed() / config_.check_every % nodes_.size()];
  if (node) node->core().check_invariants();
}

void Simulator::check() {
  check_swarms(*this);
  check_index(*this);
  check_membership(*this);
  check_limits(*this);
}

void Simulator::check_all() {
  check();
  for (auto& node : nodes_) {
    if (node) node->core().check_invariants();
  }
}

void Simulator::run_for(Duration duration) {
  const TimePoint end = now() + duration;
  while (!events_.empty() && events_.next_time() <= end) step();
  events_.advance_to(end);
  check_all();
}

bool Simulator::run_until(const std::function<bool(Simulator&)>& condition, Duration budget) {
  const TimePoint end = now() + budget;
  // Conditions may be costly: they are looked at every 10 ms of virtual time.
  for (TimePoint look = now();; look += 10ms) {
    while (!events_.empty() && events_.next_time() <= look) step();
    events_.advance_to(look);
    if (condition(*this)) {
      check_all();
      return true;
    }
    if (look >= end) return false;
  }
}

void Faults::note(const char* what, std::uint64_t a, std::uint64_t b) {
  sim_.trace().add(sim_.now(), 0, what, a, b);
  sim_.tell(std::string(what) + " " + std::to_string(a) + " " + std::to_string(b));
  sim_.last_fault_ = std::max(sim_.last_fault_, sim_.now());
}

void Faults::crash(NodeIndex node) {
  note("crash", node);
  sim_.stop_node(node, true);
}

void Faults::power_off(NodeIndex node) {
  note("power_off", node);
  sim_.stop_node(node, false);
}

void Faults::restart(NodeIndex node) {
  note("restart", node);
  sim_.start_node(node);
}

void Faults::leave(NodeIndex node) {
  note("leave", node);
  sim_.at_node(node, Duration{0}, [](Node& leaving) { leaving.leave(); });
}

void Faults::pause(NodeIndex node, Duration duration) {
  note("pause (ms)", node, static_cast<std::uint64_t>(duration / 1ms));
  sim_.paused_until_[node] = sim_.now() + duration;
  sim_.last_fault_ = sim_.paused_until_[node];
}

void Faults::heal() {
  note("heal");
  sim_.network().heal();
}

void Faults::set_loss(double loss) {
  note("loss (1/1000)", static_cast<std::uint64_t>(loss * 1000));
  sim_.network().set_loss(loss);
}

void Faults::origin_down(bool down) {
  note(down ? "origin down" : "origin up");
  sim_.origin().set_down(down);
}

void Faults::origin_status(unsigned status) {
  note("origin answers", status);
  sim_.origin().set_status(status);
}

void Faults::origin_stall_next(std::size_t requests) {
  note("origin stalls the next", requests);
  sim_.origin().stall_next(requests);
}

void Faults::stall(NodeIndex node) {
  note("origin stalls", node);
  sim_.origin().stall(node);
}

void Faults::unstall() {
  note("origin stalls nobody");
  sim_.origin().unstall();
}

void Faults::partition(const std::set<NodeIndex>& side) {
  std::uint64_t mask = 0;
  for (const NodeIndex node : side) mask |= std::uint64_t{1} << (node % 64U);
  note("partition (mask)", mask);
  sim_.network().partition(side);
  for (NodeIndex i = 0; i < sim_.size(); ++i) {
    if (sim_.node(i) == nullptr) continue;
    for (const auto& [session, end] : sim_.node(i)->sessions()) {
      if (sim_.network().connected(i, end.peer)) continue;
      // Keepalives go unanswered, unless it heals before.
      const auto life = sim_.life_of(end.peer);
      const auto number = sim_.network().partition_count();
      sim_.at_node(i, dead_session_timeout,
                   [session = session, peer = end.peer, life, number](Node& node) {
                     Simulator& sim = node.simulator();
                     const bool same = sim.network().partition_count() == number &&
                                       !sim.network().connected(node.index(), peer);
                     if (same || sim.life_of(peer) != life) node.session_closed(session);
                   });
    }
  }
}

bool converged(Simulator& simulator) {
  std::vector<NodeId> live;
  for (NodeIndex i = 0; i < simulator.size(); ++i) {
    if (simulator.node(i) != nullptr) live.push_back(simulator.id_of(i));
  }
  std::sort(live.begin(), live.end());
  std::optional<std::uint64_t> root;
  for (NodeIndex i = 0; i < simulator.size(); ++i) {
    Node* node = simulator.node(i);
    if (node == nullptr) continue;
    const gossip::Gossip& gossip = node->core().gossip();
    const auto seen = gossip.live();
    if (!std::equal(seen.begin(), seen.end(), live.begin(), live.end())) return false;
    if (root && *root != gossip.index_root()) return false;
    root = gossip.index_root();
  }
  return true;
}

bool pulls_done(Simulator& simulator) {
  for (NodeIndex i = 0; i < simulator.size(); ++i) {
    if (simulator.node(i) != nullptr && !simulator.node(i)->pulls_done()) return false;
  }
  return true;
}

std::vector<std::uint64_t> seeds(std::size_t count) {
  if (const char* one = std::getenv("WAGGLE_SIM_SEED")) return {std::strtoull(one, nullptr, 10)};
  if (const char* many = std::getenv("WAGGLE_SIM_SEEDS")) count = std::strtoull(many, nullptr, 10);
  std::vector<std::uint64_t> list(count);
  for (std::size_t i = 0; i < count; ++i) list[i] = i + 1;
  return list;
}

}  // namespace waggle::sim
