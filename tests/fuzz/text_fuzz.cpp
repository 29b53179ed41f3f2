// The small readers of text and bytes that everything else stands on.
#include "base/bytes.hpp"
#include "base/digest.hpp"
#include "base/endpoint.hpp"
#include "base/ids.hpp"
#include "base/keys.hpp"
#include "base/msg.hpp"
#include "node/config_value.hpp"
#include "target.hpp"

namespace waggle::fuzz {
namespace {

void check_texts(std::string_view text) {
  if (const auto digest = Digest::parse(text)) {
    expect(digest->to_string() == text, "a digest is written as it was read");
    expect(Digest::from_wire(digest->to_wire()).value() == *digest, "a digest survives the wire");
  }
  if (const auto bytes = from_hex(text)) {
    expect(from_hex(to_hex(*bytes)) == bytes, "hex is inverse");
  }
  if (const auto bytes = from_base64(text)) {
    expect(from_base64(to_base64(*bytes)) == bytes, "base64 is inverse");
  }
  if (const auto id = NodeId::parse(text)) expect(NodeId::parse(id->to_string()) == id, "an id");
  if (const auto key = ClusterKey::parse(text)) {
    expect(ClusterKey::parse(key->to_base64())->key_id() == key->key_id(), "a key keeps its id");
  }
  (void)node::parse_size(text);
  if (const auto size = node::parse_size_or_percent(text)) (void)size->resolve(1ULL << 40U);
  (void)node::parse_duration(text);
  (void)node::edit_distance(text.substr(0, 100), "cluster.key_files");
}

/// Reads whatever is there, in the order it is there.
void walk(MsgReader in, unsigned depth) {
  while (in.ok() && in.remaining() > 0) {
    MsgReader next = in;
    if (next.next_is_nil()) {
      in = next;
    } else if (MsgReader child = next.array(); child.ok()) {
      expect(depth < 8, "nesting keeps its limit");
      walk(child, depth + 1);
      in = next;
    } else {
      switch (in.remaining() % 3) {
        case 0:
          (void)in.uint();
          break;
        case 1:
          (void)in.bin();
          break;
        default:
          (void)in.str();
      }
    }
  }
}

void run(ByteView bytes) {
  check_texts(as_text(bytes));
  if (const auto digest = Digest::from_wire(bytes)) {
    expect(Digest::parse(digest->to_string()).value() == *digest, "a digest survives as text");
  }
  if (const auto endpoint = Endpoint::from_wire(bytes)) {
    const Bytes wire = endpoint->to_wire();
    expect(std::equal(wire.begin(), wire.end(), bytes.begin(), bytes.end()),
           "an endpoint is written as it was read");
    expect(Endpoint::parse(endpoint->to_string()).value() == *endpoint,
           "an endpoint survives as text");
  }
  const MsgReader in = MsgReader::parse(bytes, {});
  if (in.ok()) walk(in, 0);
}

std::vector<Bytes> seeds() {
  std::vector<Bytes> out;
  for (const char* text :
       {"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "00112233445566778899aabbccddeeff", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "64MiB", "1.5GiB", "20%", "250ms", "7d", "cluster.key_file"}) {
    out.push_back(bytes_of(text));
  }
  out.push_back(sha256_of(as_bytes("abc")).to_wire());
  out.push_back(Endpoint::v4(10, 0, 0, 1, 7947).to_wire());
  MsgWriter writer;
  writer.array(5).uint(1ULL << 40U).boolean(true).nil().str("text").array(1).bin(as_bytes("x"));
  out.push_back(writer.take());
  return out;
}

const Target target("text", &run, &seeds);

}  // namespace
}  // namespace waggle::fuzz
