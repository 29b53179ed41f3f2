// The record layer of sessions: a stream in any pieces, and records that an authenticated peer
// sealed around anything.
#include "base/limits.hpp"
#include "target.hpp"
#include "transfer/frame.hpp"
#include "transfer/session_crypt.hpp"

#include <algorithm>

namespace waggle::fuzz {
namespace {

using namespace waggle::transfer;

struct Seen {
  std::vector<std::pair<RecordKind, Bytes>> records;
  bool failed = false;
};

/// Reads the stream in pieces of `piece` bytes.
Seen read_in(ByteView stream, std::size_t piece) {
  FrameReader reader(2 * record_bytes_max);
  Seen seen;
  while (!stream.empty() && !seen.failed) {
    const MutableByteView room = reader.prepare();
    expect(!room.empty(), "a drained reader has room");
    const std::size_t size = std::min({room.size(), piece, stream.size()});
    std::copy_n(stream.begin(), size, room.begin());
    reader.commit(size);
    stream = stream.subspan(size);
    while (true) {
      const auto record = reader.next();
      seen.failed = !record;
      if (!record || !*record) break;
      seen.records.emplace_back((*record)->kind, to_bytes((*record)->body));
    }
  }
  return seen;
}

void run_stream(Input input) {
  const std::size_t piece = 1 + input.byte();
  const ByteView stream = input.rest();
  const Seen whole = read_in(stream, stream.size() + 1);
  const Seen parts = read_in(stream, piece);
  expect(whole.failed == parts.failed && whole.records == parts.records,
         "records do not depend on the pieces");
  ControlJoiner joiner;
  for (const auto& [kind, body] : whole.records) {
    if (kind != RecordKind::control) continue;
    const auto message = joiner.add(body);
    if (!message) break;
    if (*message) expect((*message)->size() <= limits::control_frame_bytes_max, "keeps its limit");
  }
}

SecretKey key_of(std::uint8_t fill) {
  return SecretKey(std::span<const std::byte, 32>(Bytes(32, std::byte{fill})));
}

/// Records whose tags are right: the opener reads what was sealed and believes none of it.
void run_sealed(Input input) {
  SessionSecrets secrets;
  secrets.payload_cipher =
      input.byte() % 2 == 0 ? PayloadCipher::chacha20_poly1305 : PayloadCipher::aes_256_gcm;
  secrets.control_receive = key_of(1);
  secrets.payload_receive = key_of(2);
  SessionOpener opener(secrets);
  CipherState control(secrets.control_receive);
  PayloadCipherState payload(secrets.payload_cipher, CipherDirection::seal,
                             secrets.payload_receive);
  ControlJoiner joiner;
  bool alive = true;
  for (int i = 0; i < 32 && !input.empty(); ++i) {
    const bool is_control = input.byte() % 2 == 0;
    const ByteView text = input.string();
    Bytes body = to_bytes(text);
    body.resize(text.size() + record_tag_bytes);
    const RecordHeader header{is_control ? RecordKind::control : RecordKind::payload,
                              static_cast<std::uint32_t>(body.size())};
    auto clear = header.to_wire();
    if (!RecordHeader::from_wire(clear)) continue;  // the reader would have refused it
    if (is_control) {
      expect(control.seal({}, text, body).has_value(), "sealing works");
      const auto opened = opener.open_control({header.kind, clear, body});
      expect(opened.has_value() == alive, "a true record opens on a session that lives");
      if (opened) {
        expect(std::ranges::equal(*opened, text), "as what was sealed");
        alive = joiner.add(*opened).has_value();
        if (!alive) return;  // the session is closed
      }
      continue;
    }
    payload.seal(clear, body);
    const auto frame = opener.open_payload({header.kind, clear, body});
    if (!frame) {
      alive = false;
      continue;
    }
    expect(alive && frame->data.size() == frame->header.length &&
               frame->data.size() <= limits::payload_bytes_max,
           "a payload frame has the length it says");
  }
}

void run(ByteView bytes) {
  Input input(bytes);
  if (input.byte() % 2 == 0) {
    run_stream(input);
  } else {
    run_sealed(input);
  }
}

std::vector<Bytes> seeds() {
  const auto record = [](RecordKind kind, ByteView body) {
    Bytes out;
    append(out, RecordHeader{kind, static_cast<std::uint32_t>(body.size())}.to_wire());
    append(out, body);
    return out;
  };
  Bytes stream{std::byte{0}, std::byte{3}};
  append(stream, record(RecordKind::control, bytes_of(std::string(1, '\0') + "a control message")));
  append(stream, record(RecordKind::payload, Bytes(60, std::byte{1})));
  append(stream, record(RecordKind::control, bytes_of("\1too short for a part of more")));
  Bytes sealed{std::byte{1}, std::byte{0}};
  std::array<std::byte, payload_header_bytes> header{};
  PayloadHeader{{}, ChunkIndex{1}, 0, 4}.to_wire(header);
  Bytes payload = to_bytes(header);
  append(payload, bytes_of("data"));
  sealed.push_back(std::byte{0});
  append_string(sealed, bytes_of(std::string(1, '\0') + "message"));
  sealed.push_back(std::byte{1});
  append_string(sealed, payload);
  Bytes other = sealed;
  other[1] = std::byte{1};
  return {stream, sealed, other};
}

const Target target("session_frames", &run, &seeds);

}  // namespace
}  // namespace waggle::fuzz
