// Journals of partial blobs as a crash may leave them: raw bytes, and records whose checksums are
// right whatever they say.
#include "base/blob_layout.hpp"
#include "base/limits.hpp"
#include "cache/journal.hpp"
#include "target.hpp"

namespace waggle::fuzz {
namespace {

using namespace waggle::cache;

Bytes rewritten(const JournalState& state) {
  JournalWriter writer;
  Bytes out = writer.header(state.header);
  for (const auto& [index, chunk] : state.chunks) append(out, writer.chunk(index, chunk));
  for (const auto& [index, end] : state.links) append(out, writer.link(index, end));
  expect(writer.chain() == replay_journal(out)->chain, "a writer knows its chain");
  return out;
}

void check(ByteView journal) {
  const auto state = replay_journal(journal);
  if (!state) return;
  expect(state->valid_bytes <= journal.size(), "the valid prefix is one");
  expect(state->header.origin.size() <= limits::origin_bytes_max, "an origin keeps its limit");
  const auto chunk_count = BlobLayout(state->header.size).chunk_count();
  for (const auto& [index, chunk] : state->chunks) {
    expect(to_value(index) < chunk_count, "a chunk is one of the blob's");
    expect(chunk.proof.size() <= limits::journal_proof_bytes_max, "a proof keeps its limit");
  }
  const auto prefix = replay_journal(journal.first(state->valid_bytes));
  expect(prefix && *prefix == *state, "the valid prefix alone says the same");
  const auto again = replay_journal(rewritten(*state));
  expect(again && again->header == state->header && again->chunks == state->chunks &&
             again->links == state->links,
         "a journal that is written is read as it was");
  Bytes longer = to_bytes(journal.first(state->valid_bytes));
  JournalWriter writer(state->chain);
  append(longer, writer.drop(ChunkIndex{0}));
  const auto appended = replay_journal(longer);
  expect(appended && appended->valid_bytes == longer.size(), "a replayed journal goes on");
  expect(!appended->chunks.contains(ChunkIndex{0}), "a dropped chunk is gone");
}

/// Strings of the input become records: length, kind and payload, chained as the format asks.
Bytes chained(Input input) {
  Bytes journal;
  std::uint64_t chain = 0;
  while (!input.empty()) {
    const ByteView text = input.string();
    if (text.empty()) continue;
    Bytes record;
    append_le(record, static_cast<std::uint16_t>(text.size() - 1));
    append(record, text);
    chain = checksum(record, chain);
    append_le(record, chain);
    append(journal, record);
  }
  return journal;
}

void run(ByteView bytes) {
  Input input(bytes);
  const bool raw = input.byte() % 2 == 0;
  if (raw) {
    check(input.rest());
  } else {
    check(chained(input));
  }
}

std::vector<Bytes> seeds() {
  JournalWriter writer;
  Midstate end;
  end.bytes.fill(std::byte{5});
  const std::vector<Bytes> records = {
      writer.header({sha256_of(as_bytes("abc")), "https://r:443", 3 * limits::MiB}),
      writer.chunk(ChunkIndex{1}, {77, ProofKind::crec, Bytes(128, std::byte{1})}),
      writer.chunk(ChunkIndex{2}, {78, ProofKind::linked, {}}),
      writer.link(ChunkIndex{1}, end),
      writer.drop(ChunkIndex{2}),
  };
  Bytes raw{std::byte{0}};
  Bytes parts{std::byte{1}};
  for (const Bytes& record : records) {
    append(raw, record);
    append_string(parts, ByteView(record).subspan(2, record.size() - 10));
  }
  return {raw, parts};
}

const Target target("journal", &run, &seeds);

}  // namespace
}  // namespace waggle::fuzz
