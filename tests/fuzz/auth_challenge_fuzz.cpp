// WWW-Authenticate headers and the answers of token servers.
#include "mirror/auth_challenge.hpp"
#include "target.hpp"

namespace waggle::fuzz {
namespace {

using namespace waggle::mirror;

std::string text_of(const AuthChallenge& challenge) {
  std::string text = challenge.scheme;
  char separator = ' ';
  for (const auto& [name, value] : challenge.parameters) {
    text.append(1, separator).append(name).append("=\"");
    for (const char c : value) text.append(c == '"' || c == '\\' ? "\\" : "").append(1, c);
    text += '"';
    separator = ',';
  }
  return text;
}

/// One byte chooses header or token answer.
void run(ByteView bytes) {
  Input input(bytes);
  if (input.byte() % 2 == 1) {
    const auto token = parse_token_response(as_text(input.rest()));
    if (!token) return;
    expect(!token->token.empty() && token->token.find_first_of("\r\n \0") == std::string::npos,
           "a token may stand in a header");
    expect(token->expires_in.count() >= 0 && token->expires_in.count() <= 86'400,
           "a token lives a day at most");
    return;
  }
  const std::string_view header = as_text(input.rest());
  const auto challenges = parse_challenges(header);
  if (!challenges) return;
  expect(!challenges->empty() && challenges->size() <= header.size(), "there is a challenge");
  for (const auto& challenge : *challenges) {
    expect(!challenge.scheme.empty(), "a challenge has a scheme");
    expect(challenge.token68.empty() || challenge.parameters.empty(),
           "a challenge has parameters or a token68");
    if (challenge.parameters.empty()) continue;
    const auto again = parse_challenges(text_of(challenge));
    expect(again && again->size() == 1 && again->front() == challenge,
           "a challenge that is written is read as it was");
  }
}

std::vector<Bytes> seeds() {
  std::vector<Bytes> out;
  for (const char* text :
       {"Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\","
        "scope=\"repository:library/busybox:pull\"",
        "Basic realm=\"a\\\"b\", Bearer realm=c", "Negotiate abc==, Basic realm=x", "Newauth",
        "Basic  realm = \"x\" , charset=\"UTF-8\""}) {
    out.push_back({std::byte{0}});
    append(out.back(), as_bytes(text));
  }
  for (const char* text : {"{\"token\":\"abc\",\"expires_in\":300}", "{\"access_token\":\"abc\"}",
                           "{\"token\":\"\",\"access_token\":\"x\",\"expires_in\":-1e300}"}) {
    out.push_back({std::byte{1}});
    append(out.back(), as_bytes(text));
  }
  return out;
}

const Target target("auth_challenge", &run, &seeds);

}  // namespace
}  // namespace waggle::fuzz
