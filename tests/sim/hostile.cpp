// Lies of the simulated members.
#include "sim/hostile.hpp"

#include "sim/node.hpp"
#include "sim/simulator.hpp"
#include "transfer/session_message.hpp"

namespace waggle::sim {
namespace {

using namespace std::chrono_literals;

constexpr Variant wrong_bytes = 9;
constexpr std::uint32_t forged_from = 10;  ///< chunk
constexpr std::uint64_t boast_bytes = 1 * limits::MiB;

}  // namespace

std::optional<Variant> forged_variant(Lie lie, ChunkIndex chunk, bool is_relayed) {
  const bool is_forged = lie == Lie::bytes || (lie == Lie::false_hop && is_relayed) ||
                         (lie == Lie::forged_list && to_value(chunk) >= forged_from);
  return is_forged ? std::optional(wrong_bytes) : std::nullopt;
}

std::vector<Midstate> told_midstates(Lie lie, const Blob& blob) {
  std::vector<Midstate> list = true_midstates(blob);
  if (list.size() <= forged_from) return list;
  if (lie == Lie::midstate) list[forged_from].bytes[0] ^= std::byte{1};
  if (lie != Lie::forged_list) return list;
  for (std::uint32_t i = forged_from; i < list.size(); ++i) {
    list[i] = *hash_link(blob.digest, blob.layout(), ChunkIndex{i}, wrong_bytes, list[i - 1]).end;
  }
  return list;
}

void Node::pretend(const Blob& blob) {
  committed_.insert(blob.digest);
  core_->content_found(sim_.now(), blob.digest, blob.size, sim_.now());
  pump();
}

void Node::reject(const transfer::SendBlock& send) {
  Bytes frame{std::byte{1}};  // the exchange's channel
  append(frame, transfer::encode(transfer::RejectMessage{send.tag, send.chunk,
                                                         transfer::RejectReason::not_found}));
  run(transfer::SendControl{send.session, std::move(frame)});
}

void Node::fake_progress(FetchId id, std::uint64_t bytes) {
  later(200ms, [this, id, bytes](TimePoint now) {
    core_->exchange().fetch_progress(now, id, bytes);
    fake_progress(id, bytes + boast_bytes);
  });
}

}  // namespace waggle::sim
