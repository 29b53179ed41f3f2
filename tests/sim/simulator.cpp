// Nodes' lives, sessions between them, and the loop.
#include "sim/simulator.hpp"

#include "base/assert.hpp"
#include "base/siphash.hpp"
#include "sim/addresses.hpp"

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

Simulator* current = nullptr;  ///< whose story is told when an invariant breaks

extern "C" void tell_story(int signal) {
  // Once: what fails while it is told must not be told again.
  if (Simulator* failed = std::exchange(current, nullptr)) {
    std::fputs("the last events:\n", stderr);
    std::fputs(failed->trace().tail().c_str(), stderr);
    std::fputs(failed->story().c_str(), stderr);
  }
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
      paused_until_(config.node_count),
      clock_offsets_(config.node_count),
      wall_errors_(config.node_count),
      check_every_(std::max<std::uint64_t>(
          config.check_every, config.node_count > observers_max ? 4 * config.node_count : 0)),
      noise_prng_(mix_seed(config.seed ^ 0x6e6f697365U)) {
  SeededRandomSource random(mix_seed(config.seed ^ 0x6964U));
  for (std::size_t i = 0; i < config.node_count; ++i)
    identities_.push_back(Identity::generate(random));
  for (NodeIndex i = 0; i < config.node_count; ++i) indexes_.emplace(id_of(i), i);
  const std::size_t observers = std::min(config.node_count, observers_max);
  for (std::size_t i = 0; i < observers; ++i)
    observers_.push_back(static_cast<NodeIndex>(i * config.node_count / observers));
  current = this;
  std::signal(SIGABRT, tell_story);
  story_ = std::to_string(config.node_count) + " nodes, seed " + std::to_string(config.seed) + "\n";
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

std::vector<NodeIndex> Simulator::host_registrars() const {
  std::vector<NodeIndex> ranked;
  for (const NodeId& id : nodes_[0]->core().exchange().host_registrars(origin_name_))
    ranked.push_back(*index_of(id));
  return ranked;
}

std::optional<NodeIndex> Simulator::index_of(const NodeId& id) const {
  const auto found = indexes_.find(id);
  if (found == indexes_.end()) return std::nullopt;
  return found->second;
}

void Simulator::start_node(NodeIndex index) {
  WAGGLE_ASSERT(nodes_[index] == nullptr);
  ++lives_[index];
  trace_.add(now(), index, "start", lives_[index]);
  last_start_ = now();
  nodes_[index] = std::make_unique<Node>(*this, index, disks_[index], identities_[index]);
  nodes_[index]->start(bootstrap_list(nodes_.size()));
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
  const std::uint32_t key = disks_[dialler].keys.front();
  const SessionId own{next_session_++};
  const SessionId theirs{next_session_++};
  const auto life = lives_[acceptor];
  at_node(dialler, 2 * round_trip, [=, this](Node& node) {
    const bool answers = lives_[acceptor] == life && nodes_[acceptor] != nullptr &&
                         shares_key(dialler, acceptor) && id_of(acceptor) == target &&
                         network_.connected(dialler, acceptor);
    if (!answers) return node.dial_failed(target);
    if (paused_until_[acceptor] > now()) return give_up();
    // Of two simultaneous dials the one by the smaller id survives: the other one came first, or
    // is replaced at both ends.
    for (const auto& [session, end] : node.sessions()) {
      if (end.peer == acceptor && !end.outgoing && id_of(acceptor) < id_of(dialler)) return;
    }
    nodes_[acceptor]->session_opened(theirs, id_of(dialler),
                                     {dialler, own, false, id_of(dialler), key});
    node.session_opened(own, target, {acceptor, theirs, true, target, key});
  });
}

bool Simulator::shares_key(NodeIndex dialler, NodeIndex acceptor) const {
  const auto& opens = disks_[acceptor].keys;
  return std::find(opens.begin(), opens.end(), disks_[dialler].keys.front()) != opens.end();
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

void Simulator::pull(NodeIndex index, const Blob& blob, std::optional<TimePoint> at,
                     const ReadPlan& plan) {
  origin_.add(blob);
  tell("pull " + std::to_string(index) + " " + blob.digest.hex().substr(0, 8) + " size " +
       std::to_string(blob.size) +
       (at ? " at " + std::to_string(to_seconds(at->time_since_epoch())) : ""));
  at_node_time(index, at.value_or(now()),
               [this, blob, plan](Node& node) { node.pull(blob, origin_name_, plan); });
}

void Simulator::step() {
  events_.step();
  if (events_.executed() % check_every_ != 0) return;
  check();
  // One node's structures at a time, each in its turn.
  const auto& node = nodes_[events_.executed() / check_every_ % nodes_.size()];
  if (node) node->core().check_invariants();
}

void Simulator::check() {
  note_state();
  check_swarms(*this);
  check_index(*this);
  check_convergence(*this);
  check_membership(*this);
  check_limits(*this);
  if (now() >= memory_.second_next) memory_.second_next = now() + 1s;
}

// What lasts is looked at; what happens once is told by Faults.
void Simulator::note_state() {
  bool disturbed = network_.is_disturbed();
  for (NodeIndex i = 0; i < nodes_.size(); ++i) {
    disturbed = disturbed || paused_until_[i] > now() || disks_[i].slowness > 1 || disks_[i].full ||
                disks_[i].keys != disks_[0].keys;
  }
  if (disturbed) memory_.disturbed_at = now();
  if (!origin_.is_well()) memory_.origin_ill_at = now();
}

Duration Simulator::calm_for() const {
  return now() - std::max({last_fault_, last_start_, memory_.disturbed_at, memory_.origin_ill_at});
}

bool Simulator::is_cache_small() const {
  return config_.cache_quota_bytes != SimConfig{}.cache_quota_bytes;
}

void Simulator::overhear(NodeIndex receiver, Endpoint from, ByteView datagram) {
  constexpr std::size_t captured_max = 64;
  if (noise_ == 0) return;
  captured_.resize(captured_max);
  captured_[captured_next_++ % captured_max] = {receiver, from,
                                                Bytes(datagram.begin(), datagram.end())};
  if (!noise_prng_.chance(noise_)) return;
  const std::size_t known = std::min(captured_next_, captured_max);
  const Captured& chosen = captured_[noise_prng_.below(known)];
  Bytes bytes = chosen.datagram;
  const bool is_replay = noise_prng_.chance(0.5);
  if (!is_replay && noise_prng_.chance(0.3)) {
    bytes.resize(noise_prng_.below(bytes.size()));
  } else if (!is_replay) {
    bytes[noise_prng_.below(bytes.size())] ^= static_cast<std::byte>(1 + noise_prng_.below(255));
  }
  const auto anybody = static_cast<NodeIndex>(noise_prng_.below(nodes_.size()));
  const NodeIndex victim = noise_prng_.chance(0.5) ? chosen.receiver : anybody;
  at_node(victim, network_.delay(), [source = chosen.from, bytes, is_replay](Node& node) {
    node.receive_hostile(source, bytes, is_replay);
  });
}

void Simulator::wind_down() {
  run_for(75s);
  check_leaks(*this);
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
  ++sim_.memory_.faults;
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

void Faults::crash_soon(NodeIndex node) {
  sim_.events_.after(Duration{0}, [this, node, life = sim_.life_of(node)] {
    if (sim_.life_of(node) == life) crash(node);
  });
}

void Faults::lose_cache(NodeIndex node) {
  note("cache lost", node);
  WAGGLE_ASSERT(sim_.nodes_[node] == nullptr);
  ++sim_.memory_.extra_copies;
  sim_.disks_[node].blobs.clear();
  sim_.disks_[node].partials.clear();
}

void Faults::reinstall(NodeIndex node) {
  note("reinstalled", node);
  WAGGLE_ASSERT(sim_.nodes_[node] == nullptr);
  ++sim_.memory_.extra_copies;
  Disk fresh;
  fresh.keys = sim_.disks_[node].keys;
  sim_.disks_[node] = fresh;
  SeededRandomSource random(mix_seed(sim_.config_.seed ^ (sim_.life_of(node) << 32U) ^ node));
  sim_.indexes_.erase(sim_.id_of(node));
  sim_.identities_[node] = Identity::generate(random);
  sim_.indexes_.emplace(sim_.id_of(node), node);
}

void Faults::drain(NodeIndex node) {
  note("drain", node);
  sim_.at_node(node, Duration{0}, [](Node& draining) { draining.drain(); });
}

void Faults::disk_full(NodeIndex node, bool full) {
  note(full ? "disk full" : "disk has room", node);
  sim_.disks_[node].full = full;
}

void Faults::slow_disk(NodeIndex node, std::uint32_t times) {
  note("disk is slower (times)", node, times);
  sim_.disks_[node].slowness = times;
}

void Faults::crash_in_commit(NodeIndex node, CommitCrash when) {
  note("crash in the next commit", node, static_cast<std::uint64_t>(when));
  sim_.disks_[node].commit_crash = when;
}

void Faults::clock_jump(NodeIndex node, Duration ahead) {
  note("clock jumps (ms)", node, static_cast<std::uint64_t>(ahead / 1ms));
  sim_.clock_offsets_[node] += ahead;
  sim_.at_node(node, Duration{0}, [](Node& jumped) { jumped.clock_jumped(); });
}

void Faults::wall_error(NodeIndex node, Duration error) {
  note("wall clock is wrong", node);
  sim_.wall_errors_[node] = error;
}

void Faults::set_keys(NodeIndex node, const std::vector<std::uint32_t>& keys) {
  note("keys (first, count)", keys.front(), keys.size());
  sim_.disks_[node].keys = keys;
  sim_.at_node(node, Duration{0}, [](Node& holder) { holder.keys_changed(); });
}

void Faults::set_duplicates(double share) {
  note("duplicates (1/1000)", static_cast<std::uint64_t>(share * 1000));
  sim_.network().set_duplicates(share);
}

void Faults::set_extra_delay(Duration longest) {
  note("delay (ms)", static_cast<std::uint64_t>(longest / 1ms));
  sim_.network().set_extra_delay(longest);
}

void Faults::slow_uplink(NodeIndex node, double share) {
  note("uplink (1/1000)", node, static_cast<std::uint64_t>(share * 1000));
  if (share < 1) {
    sim_.network().slow_uplink(node, share);
  } else {
    sim_.network().full_uplink(node);
  }
}

void Faults::set_noise(double share) {
  note("noise (1/1000)", static_cast<std::uint64_t>(share * 1000));
  sim_.noise_ = share;
}

void Faults::origin_ranges(bool supported) {
  note(supported ? "origin has ranges" : "origin has no ranges");
  sim_.origin().set_range_support(supported);
}

void Faults::origin_cut(std::uint32_t chunks) {
  note("origin cuts after (chunks)", chunks);
  sim_.origin().cut_after(chunks);
}

void Faults::origin_rate(double share) {
  note("origin's rate (1/1000)", static_cast<std::uint64_t>(share * 1000));
  sim_.origin().set_rate_share(share);
}

void Faults::origin_length_error(std::int64_t bytes) {
  note("origin's blobs are longer by", static_cast<std::uint64_t>(bytes));
  sim_.origin().set_length_error(bytes);
}

void Faults::origin_variant(Variant variant) {
  note("origin's bytes (0 = true)", variant);
  sim_.origin().set_variant(variant);
}

void Faults::pause(NodeIndex node, Duration duration) {
  note("pause (ms)", node, static_cast<std::uint64_t>(duration / 1ms));
  sim_.paused_until_[node] = std::max(sim_.paused_until_[node], sim_.now() + duration);
  sim_.last_fault_ = std::max(sim_.last_fault_, sim_.paused_until_[node]);
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

void Faults::origin_status(unsigned status, std::optional<Duration> retry_after) {
  note("origin answers", status);
  sim_.origin().set_status(status, retry_after);
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

void Faults::partition(const std::set<NodeIndex>& side, bool one_way) {
  std::uint64_t mask = 0;
  for (const NodeIndex node : side) mask |= std::uint64_t{1} << (node % 64U);
  note(one_way ? "partition, one way (mask)" : "partition (mask)", mask);
  ++sim_.memory_.extra_copies;
  sim_.network().partition(side, one_way);
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
  // Cheap, and usually enough to say no.
  for (NodeIndex i = 0; i < simulator.size(); ++i) {
    if (simulator.node(i) == nullptr) continue;
    if (simulator.node(i)->core().gossip().live().size() != live.size()) return false;
  }
  std::sort(live.begin(), live.end());
  std::optional<std::uint64_t> root;
  for (NodeIndex i = 0; i < simulator.size(); ++i) {
    Node* node = simulator.node(i);
    if (node == nullptr) continue;
    const gossip::Gossip& gossip = node->core().gossip();
    const auto seen = gossip.live();
    if (!std::equal(seen.begin(), seen.end(), live.begin(), live.end())) return false;
    const std::uint64_t own = gossip.index_root();
    if (root && *root != own) return false;
    root = own;
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
