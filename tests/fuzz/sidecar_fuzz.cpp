// Midstate sidecars: raw bytes, and bytes whose checksums are right whatever they say.
#include "base/blob_layout.hpp"
#include "base/limits.hpp"
#include "cache/journal.hpp"
#include "target.hpp"

namespace waggle::fuzz {
namespace {

using namespace waggle::cache;

void check(ByteView bytes) {
  const auto head =
      decode_sidecar_head(bytes.first(std::min(bytes.size(), sidecar_head_bytes_max)));
  const auto list = decode_sidecar(bytes);
  if (head) expect(head->midstates.empty(), "a head has no midstates");
  if (!list) return;
  expect(head && head->digest == list->digest && head->size == list->size,
         "the head of a sidecar says what the whole says");
  expect(list->midstates.size() <= BlobLayout(list->size).chunk_count(), "a list keeps its limit");
  const Bytes again = encode_sidecar(*list);
  expect(again.size() == bytes.size() && std::equal(again.begin(), again.end(), bytes.begin()),
         "decode and encode are inverse");
}

/// A head without its checksum and the entries become a sidecar.
Bytes sealed(Input input) {
  Bytes out = to_bytes(input.string());
  const std::uint64_t head = checksum(out);
  append_le(out, head);
  const ByteView entries = input.rest();
  append(out, entries);
  append_le(out, checksum(entries, head));
  return out;
}

void run(ByteView bytes) {
  Input input(bytes);
  const bool raw = input.byte() % 2 == 0;
  if (raw) {
    check(input.rest());
  } else {
    check(sealed(input));
  }
}

std::vector<Bytes> seeds() {
  Midstate end;
  end.bytes.fill(std::byte{5});
  std::vector<Bytes> out;
  for (const MidstateList& list :
       {MidstateList{sha256_of(as_bytes("abc")), 3 * limits::MiB, {end, end}},
        MidstateList{sha256_of(as_bytes("")), 0, {}}}) {
    const Bytes whole = encode_sidecar(list);
    Bytes raw{std::byte{0}};
    append(raw, whole);
    out.push_back(raw);
    const std::size_t entries = 32 * list.midstates.size();
    const std::size_t head = whole.size() - entries - 16;
    Bytes parts{std::byte{1}};
    append_string(parts, ByteView(whole).first(head));
    append(parts, ByteView(whole).subspan(head + 8, entries));
    out.push_back(parts);
  }
  return out;
}

const Target target("sidecar", &run, &seeds);

}  // namespace
}  // namespace waggle::fuzz
