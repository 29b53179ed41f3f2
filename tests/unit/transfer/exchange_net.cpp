// The net's drivers: every command of an exchange becomes events in virtual time.
#include "exchange_net.hpp"

#include "base/keys.hpp"

#include <doctest/doctest.h>

#include <algorithm>

namespace waggle::transfer::testing {
namespace {

using namespace std::chrono_literals;

constexpr Duration disk_time = 300us;

Midstate chain(const Midstate& begin, const std::array<std::byte, 32>& chunk) {
  Bytes joined = to_bytes(begin.bytes);
  append(joined, chunk);
  Midstate end;
  blake2b(end.bytes, joined);
  return end;
}

}  // namespace

std::array<std::byte, 32> symbolic_hash(const std::string& origin, std::uint64_t size,
                                        ChunkIndex chunk, Variant variant) {
  Bytes text = to_bytes(as_bytes(origin));
  append_le(text, size);
  append_le(text, to_value(chunk));
  append_le(text, variant);
  std::array<std::byte, 32> hash{};
  blake2b(hash, text);
  return hash;
}

struct Net::View final : ClusterView {
  View(Net& owner, std::size_t index) : net(owner), number(index) {}
  std::span<const NodeId> registrar_candidates() const override { return net.members_; }
  bool is_live(const NodeId& node) const override {
    return std::binary_search(net.members_.begin(), net.members_.end(), node);
  }
  std::size_t holders(const Digest& digest, std::span<NodeId> out) override {
    const auto it = net.index_.find(digest);
    if (it == net.index_.end()) return 0;
    std::vector<NodeId> all;
    for (const std::size_t n : it->second) {
      if (n != number && !net.nodes_[n]->dead) all.push_back(net.nodes_[n]->identity.node_id());
    }
    net.prng_.shuffle(std::span(all));
    std::copy_n(all.begin(), std::min(all.size(), out.size()), out.begin());
    return all.size();
  }
  std::optional<std::uint64_t> announced_size(const Digest& digest) const override {
    const auto it = net.index_.find(digest);
    if (it == net.index_.end() || it->second.empty()) return std::nullopt;
    return net.blobs_.at(digest).size;
  }
  bool index_ready() const override { return true; }
  Net& net;
  std::size_t number;
};

Net::Node::Node(std::size_t index, Identity id) : number(index), identity(std::move(id)) {}
Net::Node::~Node() = default;

Net::Net(const NetConfig& config) : config_(config), prng_(mix_seed(config.seed)) {
  SeededRandomSource random(config.seed);
  for (std::size_t i = 0; i < config.nodes; ++i) {
    nodes_.push_back(std::make_unique<Node>(i, Identity::generate(random)));
    members_.push_back(nodes_[i]->identity.node_id());
    numbers_[members_.back()] = i;
  }
  std::sort(members_.begin(), members_.end());
  for (auto& node : nodes_) {
    node->view = std::make_unique<View>(*this, node->number);
    ExchangeConfig exchange;
    exchange.seed = mix_seed(config.seed + node->number);
    exchange.extents_in_flight_max = config.extents_in_flight;
    node->exchange = std::make_unique<Exchange>(exchange, node->identity, *node->view, now_);
    pump(*node);
  }
}

Net::~Net() = default;

Blob Net::make_blob(std::uint64_t size, const std::string&, const std::string& origin) {
  Blob blob{.key = {}, .size = size, .layout = BlobLayout(size)};
  Midstate state = sha256_initial_midstate();
  for (std::uint32_t i = 0; i < blob.layout.chunk_count(); ++i) {
    state = chain(state, hash_of(blob.layout, ChunkIndex{i}, 0));
  }
  blob.key = {Digest(DigestAlgorithm::sha256, state.bytes), origin};
  blobs_[blob.key.digest] = blob;
  return blob;
}

void Net::give(std::size_t n, const Blob& blob, bool announced) {
  nodes_[n]->complete[blob.key.digest] = blob.size;
  if (announced) index_[blob.key.digest].insert(n);
  nodes_[n]->exchange->blob_available(now_, blob.key.digest, blob.size);
  pump(*nodes_[n]);
}

SwarmId Net::pull(std::size_t n, const Blob& blob) {
  Node& node = *nodes_[n];
  const auto swarm = node.exchange->open(now_, blob.key);
  REQUIRE(swarm);
  const ReaderId reader{to_value(*swarm)};
  node.readers[blob.key.digest] = reader;
  node.reading[*swarm] = {blob.key, 0};
  node.exchange->add_reader(now_, *swarm, reader, 0);
  pump(node);
  return *swarm;
}

SwarmId Net::read_at(std::size_t n, const Blob& blob, std::uint64_t offset) {
  Node& node = *nodes_[n];
  const auto swarm = node.exchange->open(now_, blob.key);
  REQUIRE(swarm);
  node.readers[blob.key.digest] = ReaderId{to_value(*swarm)};
  node.exchange->add_reader(now_, *swarm, node.readers[blob.key.digest], offset, true);
  pump(node);
  return *swarm;
}

void Net::retry_upstream(std::size_t n, const Blob& blob) {
  Exchange& exchange = *nodes_[n]->exchange;
  exchange.retry_upstream(now_, exchange.find(blob.key.tag()).value());
  pump(*nodes_[n]);
}

void Net::stop_reading(std::size_t n, const Blob& blob) {
  Node& node = *nodes_[n];
  const auto swarm = node.exchange->find(blob.key.tag());
  REQUIRE(swarm);
  node.reading.erase(*swarm);
  node.exchange->remove_reader(now_, *swarm, node.readers.at(blob.key.digest));
  pump(node);
}

void Net::hold(std::size_t n, const Blob& blob, std::uint32_t chunks) {
  for (std::uint32_t i = 0; i < chunks; ++i) {
    nodes_[n]->held[blob.key].push_back({ChunkIndex{i}, {}});
  }
}

void Net::kill(std::size_t n, Duration detect) {
  Node& node = *nodes_[n];
  node.dead = true;
  std::vector<SessionId> broken;
  for (const auto& [id, session] : sessions_) {
    if (session.a == n || session.b == n) broken.push_back(id);
  }
  at(now_ + 1ms, [this, broken] {
    for (const SessionId id : broken) close(id);
  });
  at(now_ + detect, [this, n] {
    std::erase(members_, nodes_[n]->identity.node_id());
    for (auto& other : nodes_) {
      if (other->dead) continue;
      other->exchange->member_gone(now_, nodes_[n]->identity.node_id());
      other->exchange->members_changed(now_);
      pump(*other);
    }
  });
}

void Net::at(TimePoint when, std::function<void()> action) {
  events_.emplace(std::pair(when, order_++), std::move(action));
}

void Net::run_for(Duration duration) {
  const TimePoint end = now_ + duration;
  (void)run_until([] { return false; }, duration);
  now_ = end;
}

bool Net::run_until(const std::function<bool()>& done, Duration budget) {
  const TimePoint end = now_ + budget;
  while (!done()) {
    if (events_.empty() || events_.begin()->first.first > end) return false;
    auto event = events_.extract(events_.begin());
    now_ = event.key().first;
    event.mapped()();
    if (++steps_ % 64 == 0) {
      for (auto& node : nodes_) {
        if (!node->dead) node->exchange->check_invariants();
      }
    }
  }
  return true;
}

void Net::note(std::size_t node, std::size_t kind, std::uint64_t value) {
  trace_ = mix_seed(trace_ ^ mix_seed(node * 31 + kind) ^ value ^
                    static_cast<std::uint64_t>(now_.time_since_epoch().count()));
}

void Net::pump(Node& node) {
  if (node.dead) return;
  while (auto output = node.exchange->poll_output()) {
    std::uint64_t value = 0;
    if (const auto* control = std::get_if<SendControl>(&*output)) {
      std::array<std::byte, 16> hash{};
      blake2b(hash, control->message);
      value = load_le<std::uint64_t>(hash);
    }
    note(node.number, output->index(), value);
    std::visit([&](auto& command) { carry(node, std::move(command)); }, *output);
  }
  arm(node);
}

void Net::arm(Node& node) {
  const auto next = node.exchange->poll_timeout();
  if (!next || (node.timer && *node.timer <= *next && *node.timer > now_)) return;
  const TimePoint when = std::max(*next, now_ + 1us);
  node.timer = when;
  at(when, [this, &node, when] {
    if (node.dead || node.timer != when) return;
    node.timer.reset();
    if (node.frozen) return;
    node.exchange->handle_timeout(now_);
    pump(node);
  });
}

Net::Node& Net::node_of(const NodeId& id) { return *nodes_[numbers_.at(id)]; }

std::size_t Net::other(SessionId session, std::size_t n) const {
  const Session& ends = sessions_.at(session);
  return ends.a == n ? ends.b : ends.a;
}

void Net::close(SessionId session) {
  const auto it = sessions_.find(session);
  if (it == sessions_.end()) return;
  const Session ends = it->second;
  sessions_.erase(it);
  for (const std::size_t n : {ends.a, ends.b}) {
    if (nodes_[n]->dead) continue;
    nodes_[n]->exchange->session_closed(now_, session);
    pump(*nodes_[n]);
  }
}

void Net::carry(Node& node, EnsureSession command) {
  const std::size_t from = node.number;
  const std::size_t to = numbers_.at(command.node);
  at(now_ + 2 * config_.delay, [this, from, to] {
    if (nodes_[from]->dead) return;
    for (const auto& [id, session] : sessions_) {
      const bool same =
          (session.a == from && session.b == to) || (session.a == to && session.b == from);
      if (same) return;
    }
    if (nodes_[to]->dead) {
      nodes_[from]->exchange->dial_failed(now_, nodes_[to]->identity.node_id());
      pump(*nodes_[from]);
      return;
    }
    const SessionId id{next_session_++};
    sessions_[id] = {from, to};
    for (const auto& [self, peer] : {std::pair(from, to), std::pair(to, from)}) {
      nodes_[self]->exchange->session_opened(now_, id, nodes_[peer]->identity.node_id());
      pump(*nodes_[self]);
    }
  });
}

void Net::carry(Node& node, SendControl command) {
  if (!sessions_.contains(command.session)) return;
  const std::size_t to = other(command.session, node.number);
  at(now_ + config_.delay, [this, to, command = std::move(command)] {
    if (nodes_[to]->dead || nodes_[to]->frozen || !sessions_.contains(command.session)) return;
    nodes_[to]->exchange->handle_control(now_, command.session, command.message);
    pump(*nodes_[to]);
  });
}

void Net::carry(Node& node, SendBlock command) {
  if (!sessions_.contains(command.session)) return;
  Variant variant = 0;
  if (command.swarm) {
    const auto partial = node.partials.find(*command.swarm);
    if (partial == node.partials.end()) return;
    const auto buffer = command.source
                            ? node.buffers.find({*command.swarm, command.chunk, *command.source})
                            : node.buffers.end();
    const auto chunk = partial->second.chunks.find(command.chunk);
    if (buffer != node.buffers.end()) {
      const auto& blocks = buffer->second.blocks;
      const auto block =
          blocks.find(command.offset / static_cast<std::uint32_t>(limits::block_bytes));
      variant = block == blocks.end() ? 0 : block->second;
    } else if (chunk != partial->second.chunks.end()) {
      variant = chunk->second;
    } else {
      return;
    }
  } else {
    CHECK(node.complete.contains(command.digest));
  }
  if (node.lie) variant = *node.lie;
  const std::size_t to = other(command.session, node.number);
  node.uplink_free =
      std::max(now_, node.uplink_free) + transmission(command.length, config_.link_rate);
  at(node.uplink_free + config_.delay, [this, to, command, variant, from = node.number] {
    Node& target = *nodes_[to];
    if (target.dead || nodes_[from]->frozen || !sessions_.contains(command.session)) return;
    const auto place = target.exchange->block_received(
        now_, command.session,
        {command.tag, command.chunk, command.offset, command.length, command.relayed});
    if (place) {
      target.buffers[{place->swarm, command.chunk, place->source}].put(command.offset, variant);
    }
    pump(target);
  });
  if (!command.relayed) return;
  at(node.uplink_free, [this, &node, command] {
    if (node.dead) return;
    node.exchange->relay_sent(now_, command.session, command.length);
    pump(node);
  });
}

void Net::carry(Node&, CloseSession command) {
  at(now_ + 10us, [this, session = command.session] { close(session); });
}

void Net::carry(Node& node, SendClaim command) {
  at(now_ + config_.delay, [this, from = node.identity.node_id(), command = std::move(command)] {
    Node& to = node_of(command.to);
    if (to.dead || to.frozen) return;
    to.exchange->handle_claim(now_, from, command.payload);
    pump(to);
  });
}

void Net::carry(Node& node, CreateBlob command) {
  Partial& partial = node.partials[command.swarm];
  partial = {.key = command.key, .layout = BlobLayout(command.size), .chunks = {}};
  std::vector<StoredChunk> held;
  const auto kept = node.held.find(command.key);
  if (kept != node.held.end()) held = kept->second;
  node.held.erase(command.key);
  for (const StoredChunk& stored : held) partial.chunks[stored.chunk] = 0;
  at(now_ + config_.open_time, [this, &node, command, held] {
    if (node.dead) return;
    node.exchange->blob_opened(now_, command.swarm, held);
    pump(node);
  });
}

void Net::carry(Node& node, VerifyChunk command) {
  const auto buffer = node.buffers.extract({command.swarm, command.chunk, command.source});
  Partial& partial = node.partials.at(command.swarm);
  REQUIRE_FALSE(buffer.empty());
  const Variant variant = buffer.mapped().variant();
  const auto hash = hash_of(partial.layout, command.chunk, variant);
  bool ok = false;
  if (const auto* crec = std::get_if<CrecProof>(&command.proof)) {
    ok = crec->sha256 == hash;
    CHECK(command.record.size() == 128);
  } else {
    const auto& link = std::get<LinkProof>(command.proof);
    const Midstate end = chain(link.begin, hash);
    ok = link.is_last ? Digest(DigestAlgorithm::sha256, end.bytes) == partial.key.digest
                      : end == link.end;
  }
  if (ok) partial.chunks[command.chunk] = variant;
  std::vector<ChunkSha256> blocks;
  const bool wants_blocks = command.want_blocks == BlockHashes::always ||
                            (command.want_blocks == BlockHashes::if_wrong && !ok);
  for (const auto& [block, block_variant] : buffer.mapped().blocks) {
    if (wants_blocks) blocks.push_back(hash_of(partial.layout, ChunkIndex{block}, block_variant));
  }
  at(now_ + disk_time, [this, &node, command, ok, hash, blocks,
                        round = node.closed[command.swarm]] {
    if (node.dead || node.closed[command.swarm] != round) return;
    const auto verdict = ok ? ChunkVerdict::ok : ChunkVerdict::mismatch;
    node.exchange->chunk_verified(now_, command.swarm, command.chunk, command.source, verdict,
                                  command.want_sha256 ? std::optional(hash) : std::nullopt, blocks);
    pump(node);
  });
}

void Net::carry(Node& node, DropBuffer command) {
  node.buffers.erase({command.swarm, command.chunk, command.source});
}

void Net::carry(Node& node, HashLink command) {
  const Partial& partial = node.partials.at(command.swarm);
  const bool is_empty = partial.layout.size() == 0;
  const Variant variant = is_empty ? 0 : partial.chunks.at(command.chunk);
  const Midstate end = chain(command.begin, hash_of(partial.layout, command.chunk, variant));
  const bool is_last = to_value(command.chunk) + 1 == partial.layout.chunk_count();
  at(now_ + disk_time, [this, &node, command, end, is_last, round = node.closed[command.swarm]] {
    if (node.dead || node.closed[command.swarm] != round) return;
    std::optional<Digest> digest;
    if (is_last) digest = Digest(DigestAlgorithm::sha256, end.bytes);
    node.exchange->link_hashed(now_, command.swarm, command.chunk,
                               is_last ? std::nullopt : std::optional(end), digest);
    pump(node);
  });
}

void Net::carry(Node& node, CommitBlob command) {
  const Partial& partial = node.partials.at(command.swarm);
  if (partial.layout.size() > 0) CHECK(partial.chunks.size() == partial.layout.chunk_count());
  for (const auto& [chunk, variant] : partial.chunks) CHECK(variant == 0);
  CHECK(command.midstates == list_of(partial.key.digest, false));
  at(now_ + config_.commit_time,
     [this, &node, swarm = command.swarm, key = partial.key, size = partial.layout.size()] {
       if (node.dead) return;
       node.complete[key.digest] = size;
       node.exchange->blob_committed(now_, swarm, true);
       pump(node);
     });
}

void Net::carry(Node& node, CloseBlob command) {
  const auto it = node.partials.find(command.swarm);
  if (it == node.partials.end()) return;
  ++node.closed[command.swarm];
  if (!command.discard) {
    for (const auto& [chunk, variant] : it->second.chunks) {
      if (variant == 0) node.held[it->second.key].push_back({chunk, {}});
    }
  }
  node.partials.erase(it);
}

std::vector<Midstate> Net::list_of(const Digest& digest, bool lie) const {
  const Blob& blob = blobs_.at(digest);
  std::vector<Midstate> list;
  Midstate state = sha256_initial_midstate();
  for (std::uint32_t i = 0; i + 1 < blob.layout.chunk_count(); ++i) {
    state = chain(state, hash_of(blob.layout, ChunkIndex{i}, lie ? 77 : 0));
    list.push_back(state);
  }
  return list;
}

void Net::carry(Node& node, LoadMidstates command) {
  at(now_ + disk_time, [this, &node, digest = command.digest] {
    if (node.dead) return;
    node.exchange->midstates_loaded(now_, digest, list_of(digest, node.list_lie));
    pump(node);
  });
}

void Net::carry(Node&, SwarmSize) {}

void Net::carry(Node& node, ChunkReady event) {
  CHECK(node.exchange->has_chunk(event.swarm, event.chunk));
  node.ready.emplace_back(event.chunk, event.source);
  at(now_, [this, &node, swarm = event.swarm] {
    if (!node.dead) read_on(node, swarm);
  });
}

void Net::read_on(Node& node, SwarmId swarm) {
  const auto it = node.reading.find(swarm);
  const auto partial = node.partials.find(swarm);
  if (it == node.reading.end() || partial == node.partials.end()) return;
  const BlobLayout& layout = partial->second.layout;
  std::uint64_t& next = it->second.second;
  while (next < layout.size() && node.exchange->has_chunk(swarm, layout.chunk_at(next))) {
    next += layout.chunk_size(layout.chunk_at(next));
  }
  node.exchange->move_reader(now_, swarm, node.readers.at(it->second.first.digest), next);
  pump(node);
}

// Every byte may be given out: the reader takes them and leaves, often before the commit.
void Net::carry(Node& node, SwarmProven event) {
  at(now_ + 10us, [this, &node, swarm = event.swarm] {
    const auto it = node.reading.find(swarm);
    if (node.dead || it == node.reading.end()) return;
    const ReaderId reader = node.readers.at(it->second.first.digest);
    node.reading.erase(it);
    node.exchange->remove_reader(now_, swarm, reader);
    pump(node);
  });
}

void Net::carry(Node& node, SwarmCommitted event) {
  at(now_ + config_.announce_delay, [this, n = node.number, digest = event.digest] {
    if (nodes_[n]->dead) return;
    index_[digest].insert(n);
  });
}

void Net::carry(Node& node, SwarmFailed event) {
  for (const auto& [swarm, reading] : node.reading) {
    if (swarm == event.swarm) node.errors[reading.first.digest] = event.error;
  }
  node.reading.erase(event.swarm);
}

bool Net::is_complete(std::size_t n, const Blob& blob) const {
  return nodes_[n]->complete.contains(blob.key.digest);
}

bool Net::all_complete(const Blob& blob, std::size_t from) const {
  for (std::size_t n = from; n < nodes_.size(); ++n) {
    if (!nodes_[n]->dead && !nodes_[n]->frozen && !is_complete(n, blob)) return false;
  }
  return true;
}

std::optional<SwarmError> Net::error(std::size_t n, const Blob& blob) const {
  const auto it = nodes_[n]->errors.find(blob.key.digest);
  if (it == nodes_[n]->errors.end()) return std::nullopt;
  return it->second;
}

}  // namespace waggle::transfer::testing
