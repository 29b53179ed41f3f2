// A node's pump, and the answers to its commands.
#include "sim/swarm_node.hpp"

#include "base/assert.hpp"

#include <algorithm>

namespace waggle::sim {
namespace {

using namespace std::chrono_literals;
using transfer::ChunkVerdict;
using Kind = transfer::FetchEnd::Kind;

// As the drivers of a node with a fast disk and two free threads.
constexpr Duration open_time = 50us;
constexpr Duration hash_time = 700us;
constexpr Duration commit_time = 5ms;
constexpr Duration relay_look = 50ms;
constexpr std::uint64_t read_bytes = 16 * limits::KiB;
constexpr std::uint64_t window_bytes = 256 * limits::KiB;  ///< of one upstream connection
constexpr std::uint64_t progress_bytes = 256 * limits::KiB;
constexpr std::uint32_t chunks_in_store_max = 4;
constexpr std::uint32_t sealed_overhead = 48;

transfer::ExchangeConfig exchange_config(const SwarmWorldConfig& config, NodeIndex index) {
  transfer::ExchangeConfig own;
  own.seed = mix_seed(config.seed * 1000 + index);
  own.relays = config.relays;
  own.reports_sent_blocks = true;
  return own;
}

}  // namespace

SwarmNode::SwarmNode(SwarmWorld& world, NodeIndex index)
    : world_(world),
      index_(index),
      prng_(mix_seed(world.config_.seed * 77 + index)),
      exchange_(exchange_config(world.config_, index), world.identities_[index], *this,
                world.now()) {
  exchange_.members_changed(now());
  pump();
}

SwarmNode::~SwarmNode() {
  for (auto& [id, fetch] : fetches_) close_fetch(fetch);
}

TimePoint SwarmNode::now() const { return world_.now(); }

std::optional<SessionId> SwarmNode::session_with(NodeIndex peer) const {
  const auto found = by_peer_.find(peer);
  if (found == by_peer_.end()) return std::nullopt;
  return found->second;
}

// ---- what it sees of the cluster ----

std::span<const NodeId> SwarmNode::registrar_candidates() const { return world_.members_; }

bool SwarmNode::is_live(const NodeId& node) const {
  return std::binary_search(world_.members_.begin(), world_.members_.end(), node);
}

std::size_t SwarmNode::holders(const Digest& digest, std::span<NodeId> out) {
  const auto known = world_.holders_.find(digest);
  if (known == world_.holders_.end()) return 0;
  std::vector<NodeIndex> others = known->second;
  std::erase(others, index_);
  const std::size_t named = std::min(out.size(), others.size());
  for (std::size_t i = 0; i < named; ++i) {
    std::swap(others[i], others[i + prng_.below(others.size() - i)]);
    out[i] = world_.identities_[others[i]].node_id();
  }
  return others.size();
}

std::optional<std::uint64_t> SwarmNode::announced_size(const Digest& digest) const {
  const auto known = world_.holders_.find(digest);
  if (known == world_.holders_.end() || known->second.empty()) return std::nullopt;
  return world_.blobs_.at(digest).size;
}

// ---- inputs ----

void SwarmNode::open(const Blob& blob) {
  const auto swarm = exchange_.open(now(), {blob.digest, "http://registry.test:5000"});
  WAGGLE_ASSERT(swarm);
  swarms_[*swarm] = blob;
  SwarmRead read;
  read.blob = blob;
  read.swarm = *swarm;
  read.reader = ReaderId{next_reader_++};
  read.started = read.moved = now();
  reads_.push_back(read);
  exchange_.add_reader(now(), *swarm, read.reader, 0);
  pump();
}

void SwarmNode::take(const Blob& blob) {
  exchange_.blob_available(now(), blob.digest, blob.size);
  pump();
}

void SwarmNode::session_opened(SessionId id, const Session& session) {
  dialling_.erase(session.peer);
  sessions_[id] = session;
  by_peer_[session.peer] = id;
  traffic_.sessions_max = std::max(traffic_.sessions_max, sessions_.size());
  exchange_.session_opened(now(), id, world_.identities_[session.peer].node_id());
  pump();
}

void SwarmNode::session_closed(SessionId id) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  world_.links_.close(found->second.pipe);
  by_peer_.erase(found->second.peer);
  sessions_.erase(found);
  exchange_.session_closed(now(), id);
  pump();
}

void SwarmNode::dial_failed(NodeIndex peer) {
  dialling_.erase(peer);
  exchange_.dial_failed(now(), world_.identities_[peer].node_id());
  pump();
}

void SwarmNode::members_changed(const NodeId& gone) {
  exchange_.members_changed(now());
  exchange_.member_gone(now(), gone);
  pump();
}

void SwarmNode::after(Duration delay, Later apply) {
  world_.events_.after(delay, [&world = world_, index = index_, apply = std::move(apply)] {
    if (world.nodes_[index] == nullptr) return;
    apply(*world.nodes_[index]);
    world.nodes_[index]->pump();
  });
}

void SwarmNode::pump() {
  if (pumping_) return;
  pumping_ = true;
  ++traffic_.inputs;
  while (auto output = exchange_.poll_output()) {
    std::visit([this](const auto& item) { run(item); }, *output);
  }
  pumping_ = false;
  set_timer();
}

// A wake-up that comes too early looks when the next one is due.
void SwarmNode::set_timer() {
  const auto due = exchange_.poll_timeout();
  if (!due || (timer_ && *timer_ <= *due)) return;
  timer_ = std::max(*due, now());
  world_.events_.at(*timer_, [&world = world_, index = index_, number = ++timer_number_] {
    SwarmNode* node = world.nodes_[index].get();
    if (node == nullptr || node->timer_number_ != number) return;
    node->timer_.reset();
    const auto is_due = node->exchange_.poll_timeout();
    if (is_due && *is_due <= world.now()) node->exchange_.handle_timeout(world.now());
    node->pump();
  });
}

// ---- sessions ----

void SwarmNode::run(const transfer::EnsureSession& dial) {
  const NodeIndex peer = world_.indexes_.at(dial.node);
  if (by_peer_.contains(peer) || !dialling_.insert(peer).second) return;
  world_.open_session(index_, peer);
}

void SwarmNode::run(const transfer::SendControl& send) {
  const auto found = sessions_.find(send.session);
  if (found == sessions_.end()) return;
  ++traffic_.controls;
  traffic_.control_bytes += send.message.size() + sealed_overhead;
  const Session& session = found->second;
  world_.links_.send(
      session.pipe,
      {.bytes = static_cast<std::uint32_t>(send.message.size()) + sealed_overhead,
       .is_control = true,
       .arrived =
           [&world = world_, to = session.peer, id = session.peer_session, frame = send.message] {
             SwarmNode* peer = world.nodes_[to].get();
             if (peer == nullptr || !peer->sessions_.contains(id)) return;
             peer->exchange_.handle_control(world.now(), id, frame);
             peer->pump();
           },
       .taken = nullptr});
}

void SwarmNode::run(const transfer::SendBlock& send) {
  const auto found = sessions_.find(send.session);
  if (found == sessions_.end()) return;
  ++(send.relayed ? traffic_.relayed_blocks : traffic_.blocks);
  const Session& session = found->second;
  const transfer::BlockFrame frame{send.tag, send.chunk, send.offset, send.length, send.relayed};
  world_.links_.send(session.pipe,
                     {.bytes = send.length + sealed_overhead,
                      .is_control = false,
                      .arrived =
                          [&world = world_, to = session.peer, id = session.peer_session, frame] {
                            SwarmNode* peer = world.nodes_[to].get();
                            if (peer == nullptr || !peer->sessions_.contains(id)) return;
                            (void)peer->exchange_.block_received(world.now(), id, frame);
                            peer->pump();
                          },
                      .taken =
                          [&world = world_, from = index_, id = send.session, length = send.length,
                           relayed = send.relayed] {
                            SwarmNode* own = world.nodes_[from].get();
                            if (own == nullptr || !own->sessions_.contains(id)) return;
                            if (relayed) {
                              own->exchange_.relay_sent(world.now(), id, length);
                              own->relay_moved();
                            } else {
                              own->exchange_.block_sent(world.now(), id);
                            }
                            own->pump();
                          }});
}

void SwarmNode::run(const transfer::CloseSession& close) {
  world_.close_session(index_, close.session);
}

void SwarmNode::run(const transfer::SendClaim& send) {
  const NodeIndex to = world_.indexes_.at(send.to);
  world_.events_.after(
      world_.config_.link.delay, [&world = world_, from = index_, to, payload = send.payload] {
        SwarmNode* peer = world.nodes_[to].get();
        if (peer == nullptr) return;
        peer->exchange_.handle_claim(world.now(), world.identities_[from].node_id(), payload);
        peer->pump();
      });
}

// ---- blobs ----

void SwarmNode::run(const transfer::CreateBlob& create) {
  after(open_time, [swarm = create.swarm](SwarmNode& node) {
    node.exchange_.blob_opened(node.now(), swarm, std::vector<transfer::StoredChunk>{});
  });
}

void SwarmNode::run(const transfer::VerifyChunk& verify) {
  after(hash_time, [verify](SwarmNode& node) {
    const Blob& blob = node.swarms_.at(verify.swarm);
    const bool ok = proves(verify.proof, blob.digest, blob.layout(), verify.chunk, true_bytes);
    std::optional<transfer::ChunkSha256> hash;
    if (verify.want_sha256) hash = chunk_sha256(blob.digest, verify.chunk, true_bytes);
    node.exchange_.chunk_verified(node.now(), verify.swarm, verify.chunk, verify.source,
                                  ok ? ChunkVerdict::ok : ChunkVerdict::mismatch, hash);
  });
}

void SwarmNode::run(const transfer::HashLink& hash) {
  after(hash_time, [hash](SwarmNode& node) {
    const Blob& blob = node.swarms_.at(hash.swarm);
    const LinkEnd end = hash_link(blob.digest, blob.layout(), hash.chunk, true_bytes, hash.begin);
    node.exchange_.link_hashed(node.now(), hash.swarm, hash.chunk, end.end, end.digest);
  });
}

void SwarmNode::run(const transfer::CommitBlob& commit) {
  after(commit_time, [swarm = commit.swarm](SwarmNode& node) {
    node.exchange_.blob_committed(node.now(), swarm, true);
  });
}

void SwarmNode::run(const transfer::CloseBlob& close) { ready_.erase(close.swarm); }

void SwarmNode::run(const transfer::LoadMidstates& load) {
  after(open_time, [digest = load.digest](SwarmNode& node) {
    node.exchange_.midstates_loaded(node.now(), digest, node.world_.midstates(digest));
  });
}

void SwarmNode::run(const transfer::SwarmCommitted& committed) {
  const Blob blob{committed.digest, committed.size};
  after(Duration{0}, [blob](SwarmNode& node) { node.take(blob); });
  world_.events_.after(world_.config_.news, [&world = world_, index = index_, blob] {
    if (world.nodes_[index]) world.announced(index, blob);
  });
}

// ---- readers ----

void SwarmNode::run(const transfer::ChunkReady& ready) {
  auto& chunks = ready_[ready.swarm];
  chunks.resize(swarms_.at(ready.swarm).layout().chunk_count());
  chunks[to_value(ready.chunk)] = true;
  reader_moves(ready.swarm);
}

void SwarmNode::reader_moves(SwarmId swarm) {
  const auto chunks = ready_.find(swarm);
  for (SwarmRead& read : reads_) {
    if (read.swarm != swarm || read.is_over()) continue;
    const BlobLayout layout = read.blob.layout();
    std::uint64_t position = read.position;
    while (position < read.blob.size) {
      const ChunkIndex chunk = layout.chunk_at(position);
      if (!chunks->second[to_value(chunk)]) break;
      position = layout.chunk_offset(chunk) + layout.chunk_size(chunk);
    }
    if (position == read.position) continue;
    if (!read.first_chunk) read.first_chunk = now();
    read.worst_gap = std::max(read.worst_gap, now() - read.moved);
    read.position = position;
    read.moved = now();
    after(Duration{0}, [swarm, reader = read.reader, position](SwarmNode& node) {
      node.exchange_.move_reader(node.now(), swarm, reader, position);
    });
  }
}

void SwarmNode::run(const transfer::SwarmProven& proven) {
  for (SwarmRead& read : reads_) {
    if (read.swarm != proven.swarm || read.is_over()) continue;
    read.worst_gap = std::max(read.worst_gap, now() - read.moved);
    read.finished = now();
    --world_.unfinished_;
    after(1ms, [swarm = read.swarm, reader = read.reader](SwarmNode& node) {
      node.exchange_.remove_reader(node.now(), swarm, reader);
    });
  }
}

void SwarmNode::run(const transfer::SwarmFailed& failed) {
  for (SwarmRead& read : reads_) {
    if (read.swarm != failed.swarm || read.is_over()) continue;
    read.error = failed.error;
    --world_.unfinished_;
  }
}

// ---- upstream ----

void SwarmNode::run(const transfer::StartFetch& start) {
  ++world_.origin_requests_;
  Fetch& fetch = fetches_[start.fetch];
  fetch.swarm = start.swarm;
  fetch.blob = world_.blobs_.at(start.key.digest);
  fetch.at = fetch.read_at = start.offset;
  const std::uint64_t length = start.length == 0 ? limits::extent_bytes : start.length;
  fetch.stop = std::min(fetch.blob.size, start.offset + length);
  after(world_.config_.first_byte, [id = start.fetch](SwarmNode& node) {
    const auto found = node.fetches_.find(id);
    if (found == node.fetches_.end()) return;
    node.exchange_.fetch_head(node.now(), id, {206, found->second.blob.size, false});
    found->second.pipe = node.world_.links_.open(node.world_.origin_port(), node.index_);
    node.fill_pipe(id, found->second);
  });
}

void SwarmNode::fill_pipe(FetchId id, Fetch& fetch) {
  while (fetch.at < fetch.stop && fetch.at - fetch.read_at < window_bytes) {
    const std::uint64_t bytes = std::min(read_bytes, fetch.stop - fetch.at);
    fetch.at += bytes;
    world_.links_.send(*fetch.pipe, {.bytes = static_cast<std::uint32_t>(bytes),
                                     .is_control = false,
                                     .arrived =
                                         [&world = world_, index = index_, id, bytes] {
                                           if (world.nodes_[index])
                                             world.nodes_[index]->arrived(id, bytes);
                                         },
                                     .taken = nullptr});
  }
}

void SwarmNode::arrived(FetchId id, std::uint64_t bytes) {
  const auto found = fetches_.find(id);
  if (found == fetches_.end()) return;
  found->second.unread += bytes;
  read_on(id);
  pump();
}

// Not faster than the relay and the store take it: the origin waits for the window.
void SwarmNode::read_on(FetchId id) {
  for (auto found = fetches_.find(id); found != fetches_.end() && found->second.unread > 0;
       found = fetches_.find(id)) {
    Fetch& fetch = found->second;
    fetch.waits = exchange_.is_relay_full(now());
    if (fetch.waits) {
      after(relay_look, [id, number = ++fetch.look](SwarmNode& node) {
        const auto waiting = node.fetches_.find(id);
        if (waiting != node.fetches_.end() && waiting->second.look == number) node.read_on(id);
      });
      return;
    }
    if (fetch.hashing >= chunks_in_store_max) return;
    const BlobLayout layout = fetch.blob.layout();
    const ChunkIndex chunk = layout.chunk_at(fetch.read_at);
    const std::uint64_t begin = layout.chunk_offset(chunk);
    const std::uint64_t end = begin + layout.chunk_size(chunk);
    const std::uint64_t bytes = std::min({fetch.unread, end - fetch.read_at, read_bytes});
    fetch.unread -= bytes;
    fetch.read_at += bytes;
    fetch.received += bytes;
    const bool is_news = fetch.received - fetch.reported >= progress_bytes;
    if (is_news) fetch.reported = fetch.received;
    const std::uint64_t read_at = fetch.read_at;
    const std::uint64_t received = fetch.received;
    if (read_at == end) chunk_read(id, fetch, chunk);
    fill_pipe(id, fetch);
    exchange_.fetch_bytes(now(), id, chunk, static_cast<std::uint32_t>(read_at - begin));
    if (is_news) exchange_.fetch_progress(now(), id, received);
    pump();
  }
}

void SwarmNode::chunk_read(FetchId id, Fetch& fetch, ChunkIndex chunk) {
  ++fetch.hashing;
  after(hash_time, [id, chunk](SwarmNode& node) {
    const auto found = node.fetches_.find(id);
    if (found == node.fetches_.end()) return;
    Fetch& hashed = found->second;
    --hashed.hashing;
    const bool is_over = hashed.read_at == hashed.stop && hashed.hashing == 0;
    const auto sha256 = chunk_sha256(hashed.blob.digest, chunk, true_bytes);
    (void)node.exchange_.make_crec(hashed.swarm, chunk, sha256);
    node.exchange_.fetch_chunk(node.now(), id, chunk, sha256, ChunkVerdict::ok);
    node.pump();
    if (!node.fetches_.contains(id)) return;
    if (is_over)
      node.ended(id, Kind::complete);
    else
      node.read_on(id);
  });
}

void SwarmNode::relay_moved() {
  std::vector<FetchId> waiting;
  for (const auto& [id, fetch] : fetches_) {
    if (fetch.waits) waiting.push_back(id);
  }
  for (const FetchId id : waiting) read_on(id);
}

void SwarmNode::close_fetch(Fetch& fetch) {
  if (fetch.pipe) world_.links_.close(*fetch.pipe);
  fetch.pipe.reset();
}

void SwarmNode::ended(FetchId id, Kind kind) {
  const auto found = fetches_.find(id);
  if (found == fetches_.end()) return;
  close_fetch(found->second);
  fetches_.erase(found);
  exchange_.fetch_ended(now(), id, {kind, std::nullopt});
}

void SwarmNode::run(const transfer::CancelFetch& cancel) {
  const auto found = fetches_.find(cancel.fetch);
  if (found == fetches_.end()) return;
  close_fetch(found->second);
  fetches_.erase(found);
  after(Duration{0}, [id = cancel.fetch](SwarmNode& node) {
    node.exchange_.fetch_ended(node.now(), id, {Kind::canceled, std::nullopt});
  });
}

}  // namespace waggle::sim
