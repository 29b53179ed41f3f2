// A simulated node's pump and the answers to its commands.
#include "sim/node.hpp"

#include "base/limits.hpp"
#include "sim/addresses.hpp"
#include "sim/simulator.hpp"

#include <algorithm>
#include <type_traits>
#include <utility>

namespace waggle::sim {
namespace {

using namespace std::chrono_literals;
using transfer::ChunkVerdict;

constexpr Duration write_time = 200us;
constexpr Duration hash_time = 700us;
constexpr Duration commit_time = 5ms;
constexpr Duration uneven_step = 6ms;
constexpr std::uint64_t control_overhead_bytes = 60;
constexpr std::int64_t wall_start_ms = 1'800'000'000'000;
constexpr std::size_t boot_offset = 12;  // of a datagram's header; its counter follows

/// Key files by number: the same key for every node and simulation.
KeyRing key_ring(const std::vector<std::uint32_t>& numbers) {
  KeyRing ring;
  for (const std::uint32_t number : numbers) {
    SeededRandomSource random(7 + number);
    ring.push_back(ClusterKey::generate(random));
  }
  return ring;
}

node::DistributorConfig make_config(const Simulator& sim, NodeIndex index, Disk& disk,
                                    const Endpoint& endpoint) {
  node::DistributorConfig config;
  config.gossip.keys = key_ring(disk.keys);
  config.gossip.advertise = {endpoint};
  config.gossip.name = "n" + std::to_string(index);
  const auto wall_ms = static_cast<std::uint64_t>(
      (sim.now().time_since_epoch() + sim.wall_error(index)) / 1ms + wall_start_ms);
  disk.incarnation = std::max(disk.incarnation + 1, wall_ms);
  config.gossip.incarnation = disk.incarnation;
  config.gossip.told = disk.told.log();
  config.gossip.seed = mix_seed(sim.config().seed * 1000 + index);
  config.exchange.incarnation = disk.incarnation;
  config.exchange.seed = mix_seed(config.gossip.seed);
  config.exchange.in_flight_per_host = sim.config().in_flight_per_host;
  config.cache_quota_bytes = sim.config().cache_quota_bytes;
  return config;
}

}  // namespace

Node::Node(Simulator& simulator, NodeIndex index, Disk& disk, const Identity& identity)
    : sim_(simulator),
      index_(index),
      disk_(disk),
      random_(mix_seed(simulator.config().seed * 77 + index * 1000 + simulator.life_of(index))),
      core_(std::make_unique<node::Distributor>(
          make_config(simulator, index, disk, address_of(index)), identity, random_, now())) {}

Node::~Node() {
  for (const auto& [id, fetch] : fetches_) sim_.origin().cancel(fetch.handle);
}

void Node::start(const std::vector<Endpoint>& hints) {
  const TimePoint now = this->now();
  core_->disk_free(now, std::uint64_t{1} << 50U);
  for (const auto& [digest, size] : disk_.blobs) {
    core_->content_found(now, digest, size, now);
    committed_.insert(digest);
  }
  core_->store_scanned(now);
  for (const auto& [key, partial] : disk_.partials) {
    Bitfield held(BlobLayout(partial.size).chunk_count());
    for (const auto& [chunk, stored] : partial.chunks) held.set(to_value(chunk));
    core_->partial_found(key.digest, key.origin, partial.size, std::move(held), now);
  }
  core_->set_hints(now, hints);
  pump();
}

TimePoint Node::now() const { return sim_.now() + sim_.clock_offset(index_); }

void Node::lie(Lie lie) {
  lie_ = lie;
  sim_.memory().has_liars = true;
}

void Node::drain() {
  core_->drain(now());
  pump();
}

void Node::keys_changed() {
  core_->set_keys(now(), key_ring(disk_.keys));
  for (const auto& [session, end] : sessions_) {
    if (std::find(disk_.keys.begin(), disk_.keys.end(), end.key) == disk_.keys.end()) {
      sim_.close_session(index_, session);
    } else if (end.outgoing && end.key != disk_.keys.front()) {
      const Duration turn = limits::session_move_window * (to_value(session) * 37 % 50) / 50;
      sim_.at_node(index_, turn, [session](Node& node) { node.move_session(session); });
    }
  }
  pump();
}

// As the driver: the new session opens before the old one ends.
void Node::move_session(SessionId session) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end() || found->second.key == disk_.keys.front()) return;
  sim_.open_session(index_, found->second.peer);
}

void Node::leave() {
  core_->leave(now());
  pump();
}

void Node::wake() {
  core_->handle_timeout(now());
  pump();
}

void Node::receive(Endpoint from, ByteView datagram) {
  sim_.trace().add(sim_.now(), index_, "datagram", Trace::fingerprint(datagram), datagram.size());
  sim_.overhear(index_, from, datagram);
  core_->handle_datagram(now(), from, datagram);
  pump();
}

void Node::receive_hostile(Endpoint from, ByteView datagram, bool is_replay) {
  wake();  // what is due now is not the stranger's doing
  const auto root = core_->gossip().index_root();
  const auto before = core_->gossip().members();
  core_->handle_datagram(now(), from, datagram);
  std::size_t answers = 0;
  while (core_->poll_transmit()) ++answers;
  expect(sim_, answers <= (is_replay ? 1U : 0U), "a stranger's datagram is not answered");
  expect(sim_, core_->gossip().index_root() == root, "a stranger's datagram changes no index");
  const auto after = core_->gossip().members();
  const bool same = std::equal(before.begin(), before.end(), after.begin(), after.end(),
                               [](const auto& one, const auto& other) {
                                 return one.id == other.id && one.state == other.state &&
                                        one.incarnation == other.incarnation;
                               });
  expect(sim_, same, "a stranger's datagram changes no member");
  pump();
}

// No (key, nonce) pair twice: a boot belongs to one life, and in it each counter to one datagram.
// They leave in another order than they were sealed in, so the latest ones are remembered.
void Node::check_sealed_once(ByteView datagram) {
  constexpr std::size_t remembered_max = 1024;
  const auto boot = load_le<std::uint64_t>(datagram.subspan(boot_offset));
  const auto counter = load_le<std::uint64_t>(datagram.subspan(boot_offset + sizeof(boot)));
  if (boot_ == 0) {
    expect(sim_, sim_.memory().boots.insert(boot).second, "no boot is used by two lives");
  } else {
    expect(sim_, boot == boot_, "a life has one boot");
    const bool is_old = counters_.size() == remembered_max && counter <= *counters_.begin();
    expect(sim_, !is_old && !counters_.contains(counter), "no nonce is used twice");
  }
  boot_ = boot;
  counters_.insert(counter);
  if (counters_.size() > remembered_max) counters_.erase(counters_.begin());
}

void Node::session_opened(SessionId session, const NodeId& peer, const SessionEnd& end) {
  sim_.trace().add(sim_.now(), index_, "session", to_value(session), end.peer);
  for (auto it = sessions_.begin(); it != sessions_.end();) {
    it = it->second.peer_id == end.peer_id ? sessions_.erase(it) : std::next(it);
  }
  sessions_[session] = end;
  core_->session_opened(now(), session, peer);
  pump();
}

void Node::session_closed(SessionId session) {
  if (sessions_.erase(session) == 0) return;
  sim_.trace().add(sim_.now(), index_, "closed", to_value(session));
  core_->session_closed(now(), session);
  std::erase_if(buffers_, [&](const auto& entry) { return std::get<2>(entry.first) == session; });
  pump();
}

void Node::control_arrived(SessionId session, const Bytes& frame) {
  if (!sessions_.contains(session)) return;
  sim_.trace().add(sim_.now(), index_, "control", Trace::fingerprint(frame), frame.size());
  core_->handle_control(now(), session, frame);
  pump();
}

void Node::block_arrived(SessionId session, const transfer::SendBlock& block, Variant variant,
                         std::uint64_t sender_size) {
  if (!sessions_.contains(session)) return;
  sim_.trace().add(sim_.now(), index_, "block", to_value(block.chunk), block.offset);
  const auto swarm = core_->exchange().find(block.tag);
  if (!swarm) return;
  const DiskPartial* target = partial(*swarm);
  const Blob own{block.digest, target == nullptr ? sender_size : target->size};
  if (!same_chunk(own, sender_size, block.chunk)) variant = misfit_bytes;
  const auto place = core_->exchange().block_received(
      now(), session, {block.tag, block.chunk, block.offset, block.length, block.relayed});
  if (place) {
    Variant& buffered =
        buffers_.try_emplace({place->swarm, block.chunk, place->source}, variant).first->second;
    buffered = std::max(buffered, variant);
  }
  core_->settle(now());
  pump();
}

void Node::dial_failed(const NodeId& peer) {
  core_->dial_failed(now(), peer);
  pump();
}

void Node::pump() {
  if (pumping_) return;
  pumping_ = true;
  for (bool moved = true; moved;) {
    moved = false;
    while (auto transmit = core_->poll_transmit()) {
      moved = true;
      gossip_bytes_ += transmit->datagram.size();
      check_sealed_once(transmit->datagram);
      sim_.trace().add(sim_.now(), index_, "transmit", Trace::fingerprint(transmit->datagram));
      const auto to = node_at(transmit->to, sim_.size());
      if (!to) continue;
      sim_.network().send_datagram(
          index_, *to, [&sim = sim_, from = index_, to = *to, bytes = transmit->datagram] {
            sim.at_node(to, Duration{0},
                        [from, bytes](Node& node) { node.receive(address_of(from), bytes); });
          });
    }
    while (auto command = core_->poll_command()) {
      moved = true;
      execute(*command);
    }
  }
  pumping_ = false;
  const auto deadline = core_->poll_timeout();
  if (deadline == timer_) return;
  timer_ = deadline;
  ++timer_epoch_;
  if (!deadline) return;
  sim_.at_node_time(index_, *deadline - sim_.clock_offset(index_),
                    [epoch = timer_epoch_](Node& node) {
                      if (node.timer_epoch_ != epoch) return;
                      node.timer_.reset();
                      node.wake();
                    });
}

void Node::execute(const node::Command& command) {
  sim_.trace().add(sim_.now(), index_, "command", command.index());
  std::visit(
      [this](const auto& item) {
        using T = std::decay_t<decltype(item)>;
        if constexpr (std::is_same_v<T, node::RemoveBlob>) {
          disk_.blobs.erase(item.digest);
          committed_.erase(item.digest);
        } else if constexpr (std::is_same_v<T, node::RemovePartial>) {
          disk_.partials.erase({item.digest, item.origin});
        } else if constexpr (std::is_same_v<T, node::PersistTold>) {
          disk_.told.apply(item.told);
        } else if constexpr (std::is_same_v<T, node::PersistIncarnation>) {
          disk_.incarnation = std::max(disk_.incarnation, item.incarnation);
        } else if constexpr (std::is_same_v<T, transfer::DropBuffer>) {
          buffers_.erase({item.swarm, item.chunk, item.source});
        } else if constexpr (std::is_same_v<T, transfer::CancelFetch>) {
          cancel(item.fetch);
        } else if constexpr (std::is_same_v<T, transfer::SwarmProven>) {
          proven(item.swarm);
        } else if constexpr (std::is_same_v<T, transfer::SwarmFailed>) {
          failed(item.swarm, item.error);
        } else if constexpr (std::is_same_v<T, node::ReportClone>) {
          expect(sim_, false, "no identity is used twice here, and none is reported to be");
        } else if constexpr (!std::is_same_v<T, transfer::SwarmSize> &&
                             !std::is_same_v<T, transfer::SwarmTainted> &&
                             !std::is_same_v<T, transfer::SwarmCommitted>) {
          run(item);
        }
      },
      command);
}

void Node::later(Duration delay, std::function<void(TimePoint)> apply) {
  sim_.at_node(index_, delay, [apply = std::move(apply)](Node& node) {
    apply(node.now());
    node.core_->settle(node.now());
    node.pump();
  });
}

void Node::later_for(SwarmId swarm, Duration delay, std::function<void(TimePoint)> apply) {
  later(delay, [this, swarm, round = closed_[swarm], apply = std::move(apply)](TimePoint now) {
    if (closed_[swarm] == round) apply(now);
  });
}

void Node::run(const node::Dial& dial) {
  const auto target = sim_.index_of(dial.node);
  if (target) sim_.open_session(index_, *target);
}

void Node::run(const transfer::SendControl& send) {
  const auto session = sessions_.find(send.session);
  if (session == sessions_.end()) return;
  const SessionEnd end = session->second;
  control_bytes_ += send.message.size() + control_overhead_bytes;
  sim_.network().send_control(
      index_, end.peer,
      [&sim = sim_, to = end.peer, life = sim_.life_of(end.peer), session = end.peer_session,
       from = index_, frame = send.message] {
        sim.at_life(to, life, sim.network().control_arrival(from, to) - sim.now(),
                    [session, frame](Node& peer) { peer.control_arrived(session, frame); });
      });
}

std::optional<Node::Stored> Node::content_of(const transfer::SendBlock& block) {
  const auto forged = forged_variant(lie_, block.chunk, block.relayed);
  if (const auto blob = disk_.blobs.find(block.digest); blob != disk_.blobs.end()) {
    return Stored{forged.value_or(true_bytes), blob->second};
  }
  if (!block.swarm) return std::nullopt;
  const auto buffer =
      block.source ? buffers_.find({*block.swarm, block.chunk, *block.source}) : buffers_.end();
  const DiskPartial* held = partial(*block.swarm);
  if (held == nullptr) return std::nullopt;
  if (buffer != buffers_.end()) return Stored{forged.value_or(buffer->second), held->size};
  const auto chunk = held->chunks.find(block.chunk);
  if (chunk == held->chunks.end()) return std::nullopt;
  return Stored{forged.value_or(chunk->second.variant), held->size};
}

void Node::run(const transfer::SendBlock& send) {
  if (lie_ == Lie::rejecting_holder) return reject(send);
  const auto session = sessions_.find(send.session);
  if (session == sessions_.end()) return;
  const SessionEnd end = session->second;
  const auto content = content_of(send);
  if (!content) return;
  if (lie_ == Lie::silent_hop && send.relayed) return relay_left(send, sim_.now());
  if (!sim_.network().connected(index_, end.peer)) {
    return sim_.network().send_control(index_, end.peer, [&sim = sim_, index = index_, send] {
      sim.at_node(index, Duration{0}, [send](Node& node) { node.run(send); });
    });
  }
  const TimePoint arrives = std::max(sim_.network().transfer_end(index_, end.peer, send.length),
                                     sim_.now() + sim_.config().link.delay_max);
  sim_.at_node_time(end.peer, arrives,
                    [to = end.peer_session, send, content = *content](Node& peer) {
                      peer.peer_bytes_ += send.length;
                      peer.block_arrived(to, send, content.variant, content.blob_size);
                    });
  if (send.relayed) relay_left(send, arrives);
}

void Node::relay_left(const transfer::SendBlock& send, TimePoint at) {
  sim_.at_node_time(index_, at, [send](Node& node) {
    node.core_->exchange().relay_sent(node.now(), send.session, send.length);
  });
}

void Node::run(const transfer::CloseSession& close) { sim_.close_session(index_, close.session); }

DiskPartial* Node::partial(SwarmId swarm) {
  const auto key = swarms_.find(swarm);
  if (key == swarms_.end()) return nullptr;
  const auto found = disk_.partials.find(key->second);
  return found == disk_.partials.end() ? nullptr : &found->second;
}

void Node::run(const transfer::CreateBlob& create) {
  later(disk_time(write_time), [this, create](TimePoint now) {
    if (disk_.full) return core_->exchange().blob_opened(now, create.swarm, std::nullopt);
    swarms_[create.swarm] = create.key;
    DiskPartial& stored = disk_.partials[create.key];
    if (stored.size != create.size) stored = {create.size, {}};
    std::vector<transfer::StoredChunk> held;
    for (const auto& [chunk, content] : stored.chunks) held.push_back({chunk, content.record});
    core_->exchange().blob_opened(now, create.swarm, std::move(held));
    std::vector<FetchId> waiting;
    for (const auto& [id, fetch] : fetches_) {
      if (fetch.swarm == create.swarm && !fetch.early.empty()) waiting.push_back(id);
    }
    for (const FetchId id : waiting) {
      const auto fetch = fetches_.find(id);
      if (fetch == fetches_.end()) continue;
      const auto early = std::exchange(fetch->second.early, {});
      const auto end = fetch->second.end;
      for (const auto& [chunk, variant] : early) fetched(id, chunk, variant);
      if (end) fetch_over(id, *end);
    }
  });
}

void Node::run(const transfer::VerifyChunk& verify) {
  const auto buffer = buffers_.find({verify.swarm, verify.chunk, verify.source});
  const bool found = buffer != buffers_.end();
  const Variant variant = found ? buffer->second : true_bytes;
  if (found) buffers_.erase(buffer);
  later_for(verify.swarm, hash_time, [this, verify, variant, found](TimePoint now) {
    ChunkVerdict verdict = ChunkVerdict::store_failed;
    DiskPartial* stored = partial(verify.swarm);
    if (!found) {
      verdict = ChunkVerdict::mismatch;  // it went with its session
    } else if (stored != nullptr && !disk_.full) {
      const Digest& digest = swarms_.at(verify.swarm).digest;
      const bool ok = proves(verify.proof, digest, BlobLayout(stored->size), verify.chunk, variant);
      verdict = ok ? ChunkVerdict::ok : ChunkVerdict::mismatch;
      if (ok) stored->chunks[verify.chunk] = {variant, verify.record};
    }
    std::optional<transfer::ChunkSha256> hash;
    if (verify.want_sha256 && found)
      hash = chunk_sha256(swarms_.at(verify.swarm).digest, verify.chunk, variant);
    core_->exchange().chunk_verified(now, verify.swarm, verify.chunk, verify.source, verdict, hash);
  });
}

void Node::run(const transfer::StartFetch& start) {
  swarms_.try_emplace(start.swarm, start.key);
  // What the origin says arrives as events of this node, also when it is paused.
  const auto here = [this](std::function<void(Node&)> apply) {
    sim_.at_node(index_, Duration{0}, [apply = std::move(apply)](Node& node) {
      apply(node);
      node.core_->settle(node.now());
      node.pump();
    });
  };
  FetchSink sink;
  sink.head = [here, id = start.fetch](const transfer::FetchHead& head) {
    here([id, head](Node& node) {
      if (node.fetches_.contains(id)) node.core_->exchange().fetch_head(node.now(), id, head);
    });
  };
  sink.chunk = [here, id = start.fetch](ChunkIndex chunk, Variant variant) {
    here([id, chunk, variant](Node& node) { node.fetched(id, chunk, variant); });
  };
  sink.end = [here, id = start.fetch](const transfer::FetchEnd& end) {
    here([id, end](Node& node) {
      const auto pause = node.sim_.origin().pause_asked();
      if (end.kind == transfer::FetchEnd::Kind::throttled && pause) {
        node.pause_host(*pause);
        node.core_->exchange().host_paused(node.now(), node.sim_.origin_name(), 0, *pause);
      }
      node.fetch_over(id, end);
    });
  };
  if (lie_ == Lie::idle_claimant) return;
  if (lie_ == Lie::boasting_claimant) return fake_progress(start.fetch, 0);
  if (sim_.now() < host_paused_until_) {
    const transfer::FetchEnd end{transfer::FetchEnd::Kind::throttled,
                                 host_paused_until_ - sim_.now()};
    return later(0ns, [this, id = start.fetch, end](TimePoint now) {
      core_->exchange().fetch_ended(now, id, end);
    });
  }
  sim_.trace().add(sim_.now(), index_, "fetch", start.offset, start.length);
  note_bypass(start);
  Fetch& fetch = fetches_[start.fetch];
  fetch.swarm = start.swarm;
  fetch.handle =
      sim_.origin().fetch(index_, start.key.digest, start.offset, start.length, std::move(sink));
}

void Node::pause_host(Duration asked) {
  const auto drawn = static_cast<std::uint64_t>(sim_.now().time_since_epoch().count()) + index_;
  const auto tenths = static_cast<double>(mix_seed(drawn) % 1000) / 10'000;
  host_paused_until_ =
      std::max(host_paused_until_, sim_.now() + from_seconds(to_seconds(asked) * (1 + tenths)));
}

// What a starving reader had fetched outside claims may leave upstream twice.
void Node::note_bypass(const transfer::StartFetch& start) {
  constexpr std::uint64_t bypass_bytes_max = 16 * limits::chunk_bytes_max;
  if (bypasses_ == core_->exchange().stats().bypasses || start.length > bypass_bytes_max) return;
  ++bypasses_;
  sim_.memory().bypass_bytes[start.key.digest] +=
      start.length == 0 ? 2 * limits::chunk_bytes_max : start.length;
}

void Node::fetched(FetchId id, ChunkIndex chunk, Variant variant) {
  const auto found = fetches_.find(id);
  if (found == fetches_.end()) return;
  Fetch& fetch = found->second;
  const DiskPartial* target = partial(fetch.swarm);
  if (target == nullptr) {
    fetch.early.emplace_back(chunk, variant);
    return;
  }
  const BlobLayout layout(target->size);
  if (to_value(chunk) >= layout.chunk_count()) return;  // longer than the blob is taken for
  const std::uint64_t bytes = layout.chunk_size(chunk);
  upstream_bytes_ += bytes;
  fetch.received += bytes;
  core_->exchange().fetch_progress(now(), id, fetch.received);
  buffers_[{fetch.swarm, chunk, transfer::fetch_source}] = variant;
  core_->exchange().fetch_bytes(now(), id, chunk, static_cast<std::uint32_t>(bytes));
  const Duration uneven = sim_.config().uneven_hashing ? uneven_step * (to_value(chunk) % 3) : 0ms;
  later_for(fetch.swarm, hash_time + uneven,
            [this, id, swarm = fetch.swarm, chunk, variant](TimePoint now) {
              buffers_.erase({swarm, chunk, transfer::fetch_source});
              DiskPartial* stored = partial(swarm);
              const auto sha256 = chunk_sha256(swarms_.at(swarm).digest, chunk, variant);
              ChunkVerdict verdict = ChunkVerdict::store_failed;
              if (stored != nullptr && !disk_.full) {
                stored->chunks[chunk] = {variant,
                                         core_->exchange().make_crec(swarm, chunk, sha256)};
                verdict = ChunkVerdict::ok;
              }
              core_->exchange().fetch_chunk(now, id, chunk, sha256, verdict);
            });
}

void Node::fetch_over(FetchId id, const transfer::FetchEnd& end) {
  const auto found = fetches_.find(id);
  if (found == fetches_.end()) return;
  if (!found->second.early.empty()) {
    found->second.end = end;  // once the file is open
    return;
  }
  fetches_.erase(found);
  // After the last chunk's hashing and writing.
  const Duration uneven = sim_.config().uneven_hashing ? 2 * uneven_step : 0ms;
  later(hash_time + uneven + disk_time(write_time),
        [this, id, end](TimePoint now) { core_->exchange().fetch_ended(now, id, end); });
}

void Node::cancel(FetchId id) {
  const auto fetch = fetches_.find(id);
  if (fetch == fetches_.end()) return;
  sim_.trace().add(sim_.now(), index_, "cancel", fetch->second.received);
  sim_.origin().cancel(fetch->second.handle);
  fetches_.erase(fetch);
  later(0ns, [this, id](TimePoint now) {
    core_->exchange().fetch_ended(now, id, {transfer::FetchEnd::Kind::canceled, {}});
  });
}

void Node::run(const transfer::HashLink& hash) {
  later_for(hash.swarm, hash_time, [this, hash](TimePoint now) {
    DiskPartial* stored = partial(hash.swarm);
    const auto chunk = stored == nullptr ? std::map<ChunkIndex, DiskChunk>::iterator{}
                                         : stored->chunks.find(hash.chunk);
    const bool is_empty = stored != nullptr && stored->size == 0;
    if (stored == nullptr || (chunk == stored->chunks.end() && !is_empty)) {
      return core_->exchange().link_hashed(now, hash.swarm, hash.chunk, std::nullopt, std::nullopt);
    }
    const LinkEnd end =
        hash_link(swarms_.at(hash.swarm).digest, BlobLayout(stored->size), hash.chunk,
                  is_empty ? true_bytes : chunk->second.variant, hash.begin);
    core_->exchange().link_hashed(now, hash.swarm, hash.chunk, end.end, end.digest);
  });
}

void Node::run(const transfer::CommitBlob& commit) {
  expect(sim_, committing_.insert(commit.swarm).second, "a blob is committed once");
  const CommitCrash crash = std::exchange(disk_.commit_crash, CommitCrash::none);
  if (crash == CommitCrash::before_rename) return sim_.faults().crash_soon(index_);
  later(disk_time(commit_time), [this, commit, crash](TimePoint now) {
    committing_.erase(commit.swarm);
    DiskPartial* stored = partial(commit.swarm);
    const transfer::SwarmKey key = swarms_.at(commit.swarm);
    if (stored == nullptr || disk_.full)
      return core_->exchange().blob_committed(now, commit.swarm, false);
    check_commit(*this, *stored, key.digest);
    disk_.blobs[key.digest] = stored->size;
    disk_.partials.erase(key);
    if (crash == CommitCrash::after_rename) return sim_.faults().crash_soon(index_);
    committed_.insert(key.digest);
    core_->exchange().blob_committed(now, commit.swarm, true);
  });
}

void Node::run(const transfer::CloseBlob& close) {
  const auto key = swarms_.find(close.swarm);
  if (key == swarms_.end()) return;
  ++closed_[close.swarm];
  if (close.discard) disk_.partials.erase(key->second);
  std::erase_if(buffers_,
                [&](const auto& entry) { return std::get<0>(entry.first) == close.swarm; });
  ready_.erase(close.swarm);
}

void Node::run(const transfer::LoadMidstates& load) {
  later(disk_time(write_time), [this, load](TimePoint now) {
    const auto found = disk_.blobs.find(load.digest);
    std::optional<std::vector<Midstate>> list;
    if (found != disk_.blobs.end()) list = told_midstates(lie_, {load.digest, found->second});
    core_->exchange().midstates_loaded(now, load.digest, std::move(list));
  });
}

}  // namespace waggle::sim
