// Control messages of transfer sessions.
#include "base/blob_layout.hpp"
#include "base/limits.hpp"
#include "target.hpp"
#include "transfer/claims.hpp"
#include "transfer/proof.hpp"
#include "transfer/session_message.hpp"

namespace waggle::fuzz {
namespace {

using namespace waggle::transfer;

void check_map(const std::optional<std::uint64_t>& size, const HaveMap& map) {
  if (!size) {
    expect(!map.all && map.chunks.size() == 0, "without a size there is no map");
    return;
  }
  expect(*size <= limits::blob_bytes_max, "a size keeps its limit");
  expect(map.chunks.size() == 0 || map.chunks.size() == BlobLayout(*size).chunk_count(),
         "a map has one bit per chunk");
}

void run(ByteView bytes) {
  const auto message = decode_session_message(bytes);
  if (!message) return;
  const Bytes again = encode(*message);
  expect(again.size() <= bytes.size(), "a decoded message takes no more bytes than it came in");
  const auto twice = decode_session_message(again);
  expect(twice && twice->index() == message->index() && encode(*twice) == again,
         "decode and encode are inverse");
  if (const auto* open = std::get_if<OpenMessage>(&*message)) {
    expect((SwarmKey{open->digest, open->origin}.tag() == open->tag), "OPEN's tag is its own");
    check_map(open->size, open->have);
  } else if (const auto* state = std::get_if<StateMessage>(&*message)) {
    check_map(state->size, state->have);
  } else if (const auto* request = std::get_if<RequestMessage>(&*message)) {
    expect(request->length >= 1 && request->length <= limits::block_bytes &&
               request->offset < limits::chunk_bytes_max,
           "a request keeps its limits");
  } else if (const auto* part = std::get_if<MidstatesMessage>(&*message)) {
    expect(std::uint64_t{part->first} + part->part.size() <= part->total,
           "a part lies inside its list");
  }
}

std::vector<Bytes> seeds() {
  const SwarmKey key{sha256_of(as_bytes("abc")), "https://r:443"};
  const SwarmTag tag = key.tag();
  Bitfield map(4);
  map.set(0);
  const HaveMap some{.all = false, .chunks = map};
  const std::vector<SessionMessage> messages = {
      OpenMessage{tag, key.digest, key.origin, 3, {.all = true, .chunks = {}}},
      StateMessage{tag, std::nullopt, {}},
      StateMessage{tag, limits::MiB, some},
      HaveMessage{tag, {ChunkIndex{1}, ChunkIndex{300}}},
      RequestMessage{tag, ChunkIndex{2}, 65536, 65536, true},
      CancelMessage{tag, ChunkIndex{2}},
      RejectMessage{tag, ChunkIndex{2}, RejectReason::no_proof},
      RejectMessage{tag, std::nullopt, RejectReason::not_found},
      BusyMessage{tag, 250},
      CrecMessage{tag, ChunkIndex{1}, limits::MiB, {}, {}, {}},
      GetMidstatesMessage{tag},
      MidstatesMessage{tag, limits::MiB, 1, 3, {Midstate{}}, {}, {}},
      CloseMessage{tag},
  };
  std::vector<Bytes> out;
  for (const auto& message : messages) out.push_back(encode(message));
  return out;
}

const Target target("session_message", &run, &seeds);

}  // namespace
}  // namespace waggle::fuzz
