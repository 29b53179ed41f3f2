// Messages between wanters and registrars.
#include "target.hpp"
#include "transfer/claim_wire.hpp"

namespace waggle::fuzz {
namespace {

using namespace waggle::transfer;

void run(ByteView bytes) {
  const auto packet = decode_claim(bytes);
  if (!packet) return;
  const Bytes again = encode_claim(*packet);
  const auto twice = decode_claim(again);
  expect(twice.has_value(), "what is encoded decodes");
  expect(twice->tag == packet->tag && twice->body.index() == packet->body.index() &&
             encode_claim(*twice) == again,
         "decode and encode are inverse");
  if (const auto* want = std::get_if<WantMessage>(&packet->body)) {
    expect(want->done.bits().size() == limits::claim_bitmap_bits, "the window has its size");
    expect(want->claims.size() <= claims_per_message_max, "claims keep their limit");
    for (std::uint32_t i = 0; i < 70'000; i += 511) (void)want->done.test(ExtentIndex{i});
  }
  if (const auto* news = std::get_if<NewsMessage>(&packet->body)) {
    expect(news->wanters.size() <= news_wanters_max && news->holders.size() <= news_holders_max,
           "news keep their limits");
  }
}

std::vector<Bytes> seeds() {
  SwarmTag tag;
  tag.bytes.fill(std::byte{7});
  Bitfield done(limits::claim_bitmap_bits);
  done.set(3);
  NodeId node;
  node.bytes.fill(std::byte{9});
  const ExtentClaim claim{ExtentIndex{2}, 1};
  const std::vector<ClaimBody> bodies = {
      WantMessage{1, 2, 3, 1U << 30U, DoneWindow(5, done), {claim}},
      WantMessage{1, 2, 3, std::nullopt, {}, {}},
      ClaimMessage{1, 2, 3, 4, true},
      ConfirmMessage{1, 2, {claim}},
      ProgressMessage{1, 1U << 30U, true, {{claim, 100}}},
      ReleaseMessage{1, {ExtentIndex{2}}, ReleaseMessage::Reason::done},
      UnwantMessage{1, true},
      NewsMessage{1, 1U << 30U, {hop_name(node), hop_name(node)}, {node}},
      GrantMessage{1, {claim}},
      VoteMessage{1, {{claim, true}}},
  };
  std::vector<Bytes> out;
  for (const auto& body : bodies) out.push_back(encode_claim({tag, body}));
  return out;
}

const Target target("claim_wire", &run, &seeds);

}  // namespace
}  // namespace waggle::fuzz
