// The journal codec and the midstate sidecar: golden bytes, truncation, flipped bits, limits.
#include "cache/journal.hpp"

#include "base/blob_layout.hpp"
#include "base/limits.hpp"
#include "store_fixture.hpp"

using namespace waggle;
using namespace waggle::cache;

namespace {

const Digest abc = sha256_of(as_bytes("abc"));

Midstate midstate_of(std::uint8_t fill) {
  Midstate midstate;
  midstate.bytes.fill(std::byte{fill});
  return midstate;
}

struct Sample {
  Bytes bytes;
  std::vector<std::size_t> ends;        // of each record
  std::vector<JournalState> states;     // after each record
};

/// A journal of `records` random records after the header, with the state each prefix must replay to.
Sample sample_journal(std::uint64_t seed, std::size_t records) {
  Prng prng(seed);
  Sample sample;
  JournalWriter writer;
  JournalState state;
  state.header = {.digest = abc, .origin = test_origin, .size = 8 * limits::MiB};
  const std::uint32_t chunk_count = BlobLayout(state.header.size).chunk_count();
  const auto add = [&](const Bytes& record) {
    append(sample.bytes, record);
    state.valid_bytes = sample.bytes.size();
    state.chain = writer.chain();
    sample.ends.push_back(sample.bytes.size());
    sample.states.push_back(state);
  };
  add(writer.header(state.header));
  for (std::size_t i = 0; i < records; ++i) {
    const ChunkIndex index{static_cast<std::uint32_t>(prng.below(chunk_count))};
    const auto kind = prng.below(4);
    if (kind == 0) {
      state.chunks.erase(index);
      state.links.erase(index);
      add(writer.drop(index));
    } else if (kind == 1) {
      state.links[index] = midstate_of(static_cast<std::uint8_t>(i));
      add(writer.link(index, state.links[index]));
    } else {
      JournalChunk chunk{.checksum = prng.next(),
                         .kind = static_cast<ProofKind>(1 + prng.below(3)),
                         .proof = random_bytes(prng.below(40), i)};
      state.chunks[index] = chunk;
      add(writer.chunk(index, chunk));
    }
  }
  return sample;
}

Bytes sealed_record(std::uint8_t kind, ByteView payload, std::uint64_t chain) {
  Bytes record;
  append_le(record, static_cast<std::uint16_t>(payload.size()));
  record.push_back(std::byte{kind});
  append(record, payload);
  append_le(record, checksum(record, chain));
  return record;
}

}  // namespace

TEST_SUITE("cache/journal") {
  TEST_CASE("checksum is XXH3-64: the published value of no input") {
    CHECK(checksum({}) == 0x2d06800538d394c2ULL);  // xxHash's own test vector XSUM_XXH3 of length 0, seed 0
  }

  TEST_CASE("a header, a chunk, a link and a drop have exactly these bytes") {
    JournalWriter writer;
    const Bytes header = writer.header({.digest = abc, .origin = "o", .size = 8 * limits::MiB});
    CHECK(to_hex(ByteView(header).first(header.size() - 8)) ==
          "3500" "01" "57474c4a524e4c0a" "0100" "21" "01" + abc.hex() + "0000800000000000" "6f");
    CHECK(load_le<std::uint64_t>(ByteView(header).last(8)) == writer.chain());

    std::uint64_t chain = writer.chain();
    const Bytes chunk = writer.chunk(
        ChunkIndex{3}, {.checksum = 0x1122334455667788ULL, .kind = ProofKind::own, .proof = Bytes(2, std::byte{0xee})});
    CHECK(chunk == sealed_record(2, *from_hex("03000000" "8877665544332211" "03" "eeee"), chain));

    chain = writer.chain();
    const Bytes link = writer.link(ChunkIndex{4}, midstate_of(0xab));
    CHECK(link == sealed_record(3, *from_hex("04000000" + to_hex(Bytes(32, std::byte{0xab}))), chain));

    chain = writer.chain();
    CHECK(writer.drop(ChunkIndex{5}) == sealed_record(4, *from_hex("05000000"), chain));
  }

  TEST_CASE("truncated at every length it replays to the longest prefix of whole records") {
    const Sample sample = sample_journal(1, 40);
    for (std::size_t length = 0; length <= sample.bytes.size(); ++length) {
      const auto state = replay_journal(ByteView(sample.bytes).first(length));
      std::size_t whole = 0;
      while (whole < sample.ends.size() && sample.ends[whole] <= length) ++whole;
      if (whole == 0) {
        REQUIRE(!state);
        CHECK(state.error() == BaseError::truncated);
      } else {
        REQUIRE(state);
        REQUIRE(*state == sample.states[whole - 1]);
      }
    }
  }

  TEST_CASE("any flipped bit ends the replay before the record it is in") {
    const Sample sample = sample_journal(2, 20);
    for (std::size_t bit = 0; bit < sample.bytes.size() * 8; ++bit) {
      Bytes flipped = sample.bytes;
      flipped[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
      std::size_t intact = 0;
      while (sample.ends[intact] <= bit / 8) ++intact;
      const auto state = replay_journal(flipped);
      if (intact == 0) {
        REQUIRE(!state);
      } else {
        REQUIRE(state);
        REQUIRE(*state == sample.states[intact - 1]);
      }
    }
  }

  TEST_CASE("records moved, doubled or taken from another journal are not believed") {
    const Sample sample = sample_journal(3, 10);
    const Sample other = sample_journal(4, 10);
    const auto record = [](const Sample& from, std::size_t index) {
      return ByteView(from.bytes).subspan(from.ends[index - 1], from.ends[index] - from.ends[index - 1]);
    };
    for (const auto& stranger : {record(sample, 1), record(sample, 5), record(other, 3)}) {
      Bytes bytes = to_bytes(ByteView(sample.bytes).first(sample.ends[3]));
      append(bytes, stranger);
      const auto state = replay_journal(bytes);
      REQUIRE(state);
      CHECK(*state == sample.states[3]);
    }
  }

  TEST_CASE("a writer that goes on after a replay, or takes back a record, continues the same journal") {
    const Sample sample = sample_journal(5, 6);
    const auto replayed = replay_journal(sample.bytes);
    REQUIRE(replayed);
    JournalWriter writer(replayed->chain);
    const std::uint64_t before = writer.chain();
    static_cast<void>(writer.drop(ChunkIndex{1}));
    writer.rewind(before);
    Bytes bytes = sample.bytes;
    append(bytes, writer.link(ChunkIndex{7}, midstate_of(9)));
    const auto state = replay_journal(bytes);
    REQUIRE(state);
    CHECK(state->links.at(ChunkIndex{7}) == midstate_of(9));
    CHECK(state->valid_bytes == bytes.size());
  }

  TEST_CASE("well-sealed records beyond a limit end the replay") {
    JournalWriter writer;
    const Bytes header = writer.header({.digest = abc, .origin = "o", .size = 8 * limits::MiB});
    const std::uint32_t chunk_count = BlobLayout(8 * limits::MiB).chunk_count();
    const auto replays_to_header = [&](std::uint8_t kind, const Bytes& payload) {
      Bytes bytes = header;
      append(bytes, sealed_record(kind, payload, writer.chain()));
      const auto state = replay_journal(bytes);
      return state && state->valid_bytes == header.size() && state->chunks.empty();
    };
    const auto chunk_payload = [](std::uint32_t index, std::uint8_t kind, std::size_t proof) {
      Bytes payload;
      append_le(payload, index);
      append_le(payload, std::uint64_t{7});
      payload.push_back(std::byte{kind});
      payload.resize(payload.size() + proof);
      return payload;
    };
    CHECK_FALSE(replays_to_header(2, chunk_payload(chunk_count - 1, 3, limits::journal_proof_bytes_max)));
    CHECK(replays_to_header(2, chunk_payload(chunk_count, 3, 0)));
    CHECK(replays_to_header(2, chunk_payload(0, 3, limits::journal_proof_bytes_max + 1)));
    CHECK(replays_to_header(2, chunk_payload(0, 0, 0)));
    CHECK(replays_to_header(2, chunk_payload(0, 4, 0)));
    CHECK(replays_to_header(3, Bytes(4 + 33)));
    CHECK(replays_to_header(3, Bytes(4 + 31)));
    CHECK(replays_to_header(4, Bytes(5)));
    CHECK(replays_to_header(5, Bytes(4)));
    CHECK(replays_to_header(1, Bytes(4)));
  }

  TEST_CASE("a header with another magic, version, digest or beyond a limit is refused") {
    const auto replay_header = [](const std::string& hex) {
      return replay_journal(sealed_record(1, *from_hex(hex), 0));
    };
    const std::string magic = "57474c4a524e4c0a";
    const std::string digest = "2101" + abc.hex();
    const std::string size = "0100000000000000";
    CHECK(replay_header(magic + "0100" + digest + size));
    CHECK(replay_header(magic + "0100" + digest + size + to_hex(Bytes(256, std::byte{'o'}))));
    CHECK(replay_header(magic + "0200" + digest + size).error() == BaseError::unsupported);
    CHECK(replay_header("58" + magic.substr(2) + "0100" + digest + size).error() == BaseError::malformed);
    CHECK(replay_header(magic + "0100" + "2107" + abc.hex() + size).error() == BaseError::malformed);
    CHECK(replay_header(magic + "0100" + digest).error() == BaseError::malformed);
    CHECK(replay_header(magic + "0100" + digest + size + to_hex(Bytes(257, std::byte{'o'}))).error() ==
          BaseError::limit_exceeded);
    CHECK(replay_header(magic + "0100" + digest + "0000000000010000"));  // 1 TiB
    CHECK(replay_header(magic + "0100" + digest + "0100000000010000").error() == BaseError::limit_exceeded);
  }

  TEST_CASE("seeded rubbish never crashes and never yields more than its valid prefix") {
    Prng prng(6);
    const Sample sample = sample_journal(7, 12);
    for (int round = 0; round < 20'000; ++round) {
      Bytes bytes = sample.bytes;
      const auto edits = 1 + prng.below(4);
      for (std::uint64_t i = 0; i < edits && !bytes.empty(); ++i) {
        const auto at = static_cast<std::ptrdiff_t>(prng.below(bytes.size()));
        switch (prng.below(4)) {
          case 0: bytes[static_cast<std::size_t>(at)] = static_cast<std::byte>(prng.next()); break;
          case 1: bytes.resize(static_cast<std::size_t>(at)); break;
          case 2: bytes.erase(bytes.begin() + at); break;
          default: bytes.insert(bytes.begin() + at, static_cast<std::byte>(prng.next())); break;
        }
      }
      const auto state = replay_journal(bytes);
      if (!state) continue;
      // Whatever counts as valid is, byte for byte, a prefix of what was written.
      REQUIRE(state->valid_bytes <= sample.bytes.size());
      REQUIRE(std::equal(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(state->valid_bytes),
                         sample.bytes.begin()));
    }
  }
}

TEST_SUITE("cache/sidecar") {
  TEST_CASE("a sidecar has exactly these bytes") {
    const MidstateList list{.digest = abc, .size = 3, .midstates = {midstate_of(0xcd)}};
    const Bytes bytes = encode_sidecar(list);
    CHECK(to_hex(ByteView(bytes).first(56)) ==
          "57474c4d4944530a" "0100" "21" "01" + abc.hex() + "0300000000000000" "01000000");
    const std::uint64_t head = checksum(ByteView(bytes).first(56));
    CHECK(load_le<std::uint64_t>(ByteView(bytes).subspan(56)) == head);
    CHECK(to_hex(ByteView(bytes).subspan(64, 32)) == to_hex(Bytes(32, std::byte{0xcd})));
    CHECK(load_le<std::uint64_t>(ByteView(bytes).subspan(96)) == checksum(ByteView(bytes).subspan(64, 32), head));
    CHECK(bytes.size() == 104);
    CHECK(*decode_sidecar(bytes) == list);
  }

  TEST_CASE("every truncation, every flipped bit and a byte too many are refused") {
    const Digest sha512(DigestAlgorithm::sha512, Bytes(64, std::byte{5}));
    for (const auto& digest : {abc, sha512}) {
      const Bytes bytes = encode_sidecar(
          {.digest = digest, .size = 2 * limits::MiB, .midstates = {midstate_of(1), midstate_of(2)}});
      CHECK(decode_sidecar(bytes));
      for (std::size_t length = 0; length < bytes.size(); ++length) {
        REQUIRE(!decode_sidecar(ByteView(bytes).first(length)));
      }
      for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
        Bytes flipped = bytes;
        flipped[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        REQUIRE(!decode_sidecar(flipped));
      }
      Bytes longer = bytes;
      longer.push_back(std::byte{0});
      CHECK(decode_sidecar(longer).error() == BaseError::malformed);
    }
  }

  TEST_CASE("the head alone tells digest and size") {
    const Digest sha512(DigestAlgorithm::sha512, Bytes(64, std::byte{5}));
    for (const auto& digest : {abc, sha512}) {
      const Bytes bytes = encode_sidecar(
          {.digest = digest, .size = 2 * limits::MiB, .midstates = std::vector(8, midstate_of(1))});
      const auto head = decode_sidecar_head(ByteView(bytes).first(sidecar_head_bytes_max));
      REQUIRE(head);
      CHECK(head->digest == digest);
      CHECK(head->size == 2 * limits::MiB);
      CHECK(head->midstates.empty());
    }
  }

  TEST_CASE("one midstate per chunk is the most") {
    Bytes bytes = encode_sidecar({.digest = abc, .size = 3, .midstates = {midstate_of(1)}});
    bytes[52] = std::byte{2};  // the count
    store_le(MutableByteView(bytes).subspan(56, 8), checksum(ByteView(bytes).first(56)));
    CHECK(decode_sidecar(bytes).error() == BaseError::limit_exceeded);
    CHECK(decode_sidecar_head(bytes).error() == BaseError::limit_exceeded);
  }
}
