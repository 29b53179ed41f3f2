// Log records, anti-entropy and bulk sets.
#include "../unit/gossip/samples.hpp"
#include "base/limits.hpp"
#include "gossip/announcement_wire.hpp"
#include "target.hpp"

#include <algorithm>

namespace waggle::fuzz {
namespace {

using namespace waggle::gossip;

void run_message(ByteView body) {
  const auto message = decode_message(body);
  if (!message) return;
  const Bytes again = encode(*message);
  expect(again.size() <= body.size(), "a decoded message takes no more bytes than it came in");
  const auto twice = decode_message(again);
  expect(twice && encode(*twice) == again, "decode and encode are inverse");
  if (const auto* records = std::get_if<Records>(&*message)) {
    expect(!records->logs.empty() && records->logs.size() <= limits::slices_per_message_max,
           "RECORDS keeps its limit");
    for (const Bytes& part : pack_records(records->rows, records->logs, 1200)) {
      expect(part.size() <= 1200 && decode_message(part).has_value(), "packed records decode");
    }
  }
  if (const auto* states = std::get_if<AeStates>(&*message)) {
    for (const Bytes& part : pack_some_states(states->states, 600)) {
      expect(part.size() <= 600 && decode_message(part).has_value(), "packed states decode");
    }
  }
}

void run_bulk(ByteView frame) {
  const auto message = decode_bulk(frame);
  if (!message) return;
  const Bytes again = encode_bulk(*message);
  expect(again.size() <= frame.size(), "a decoded frame takes no more bytes than it came in");
  const auto twice = decode_bulk(again);
  expect(twice && encode_bulk(*twice) == again, "decode and encode of frames are inverse");
  if (const auto* part = std::get_if<SnapshotPart>(&*message)) {
    SnapshotReader reader(part->entries, part->origin_count);
    SnapshotPacker packer(part->origin_count, limits::snapshot_part_bytes_max);
    while (const auto entry = reader.next()) {
      expect(packer.append(*entry), "what was read takes no more bytes when it is packed again");
    }
    expect(reader.ok() && packer.size() <= part->entries.size(), "entries decode to their end");
  }
}

/// One byte chooses datagram body or bulk frame.
void run(ByteView bytes) {
  Input input(bytes);
  if (input.byte() % 2 == 0) {
    run_message(input.rest());
  } else {
    run_bulk(input.rest());
  }
}

std::vector<Bytes> seeds() {
  const Definition definition{Digest(DigestAlgorithm::sha256, Bytes(32, std::byte{0xaa})), 4096};
  auto name = std::make_shared<SignedName>();
  name->record = {0x77, definition.digest, 9, "a/b"};
  name->author = test::id_of(1);
  name->hlc_ms = 1000;
  const NodeId a = test::id_of(1);
  const NodeId b = test::id_of(2);
  const std::vector<Message> messages = {
      Records{16,
              {{NodeRef::short_of(a),
                300,
                7,
                {Have{Id64{5}}, DefinedHave{definition}, Drop{Id64{1ULL << 63U}}, Named{name},
                 Base{299, 6, 0x1234}}},
               {NodeRef{b}, 1, 1, {Have{Id64{1}}, Have{Id64{2}}}, std::chrono::seconds(1)}}},
      AeRoot{0x0123456789abcdef, true},
      AeStates{true,
               0,
               UINT32_MAX,
               {{NodeRef::short_of(std::min(a, b)), 1, 2, 3, 2},
                {NodeRef{std::max(a, b)}, 1, 200, 3, 0}}},
      AePull{{{NodeRef::short_of(a), 5, 6}}},
      AeBuckets{},
      DefinitionPull{{Id64{1}, Id64{1ULL << 40U}}},
      Definitions{{definition}},
  };
  std::vector<BulkMessage> frames = {
      SetPull{{a, b}},
      SetData{a, 5, 9, 77, 0, 2, {Id64{1}, Id64{2}}, {name}},
      SetNone{a},
      SnapshotPull{{false, 300}, 7},
      SnapshotNone{},
      DefinitionPull{{Id64{1}, Id64{1ULL << 40U}}},
      Definitions{{definition}},
  };
  for (const std::size_t rows : {2U, 40U}) {  // a bitmap, a list
    SnapshotPart part{{false, 1}, 9, 7, rows, {}, {}, {}};
    for (std::uint32_t row = 0; row < rows; ++row) {
      part.origins.push_back({NodeRef{NodeRef::lowest(row), row % 2 == 0}, 1, 7, 8});
    }
    SnapshotPacker packer(rows, 1000);
    const std::uint64_t holders = 3;
    expect(packer.append({definition, {}, {&holders, 1}}), "there is room");
    expect(packer.append({std::nullopt, Id64{5}, {&holders, 1}}), "there is room");
    part.entries = packer.take();
    frames.emplace_back(part);
  }
  frames.emplace_back(SnapshotPart{{true, 0}, 0, 7, 2, {}, {}, {name}});
  std::vector<Bytes> out;
  for (const auto& message : messages) {
    out.push_back({std::byte{0}});
    append(out.back(), encode(message));
  }
  for (const auto& frame : frames) {
    out.push_back({std::byte{1}});
    append(out.back(), encode_bulk(frame));
  }
  return out;
}

const Target target("announcement_wire", &run, &seeds);

}  // namespace
}  // namespace waggle::fuzz
