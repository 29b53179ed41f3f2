// A small recursive reader for the challenge grammar, whose commas separate both challenges and
// parameters.
#include "mirror/auth_challenge.hpp"

#include "base/bytes.hpp"
#include "mirror/text.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <optional>

namespace waggle::mirror {
namespace {

class ChallengeReader {
 public:
  explicit ChallengeReader(std::string_view text) : text_(text) {}

  Result<std::vector<AuthChallenge>> read() {
    std::vector<AuthChallenge> challenges;
    for (skip_separators(); !text_.empty(); skip_separators()) {
      const auto scheme = take_token();
      if (scheme.empty()) return MirrorError::malformed;
      AuthChallenge challenge{to_lower(scheme), {}, {}};
      if (!text_.empty() && text_.front() != ' ' && text_.front() != ',')
        return MirrorError::malformed;
      skip_spaces();
      if (!read_parameters(challenge)) return MirrorError::malformed;
      challenges.push_back(std::move(challenge));
    }
    if (challenges.empty()) return MirrorError::malformed;
    return challenges;
  }

 private:
  void skip_spaces() {
    text_.remove_prefix(std::min(text_.find_first_not_of(" \t"), text_.size()));
  }
  void skip_separators() {
    text_.remove_prefix(std::min(text_.find_first_not_of(" \t,"), text_.size()));
  }
  std::string_view take_token() {
    const auto end = std::find_if_not(text_.begin(), text_.end(), is_token_char);
    const auto token = text_.substr(0, static_cast<std::size_t>(end - text_.begin()));
    text_.remove_prefix(token.size());
    return token;
  }

  /// Reads `name = value` pairs until the next challenge begins; a lone token68 is also accepted.
  bool read_parameters(AuthChallenge& challenge) {
    bool first = true;
    while (true) {
      const auto rewind = text_;
      if (!first) skip_separators();
      if (text_.empty()) return true;
      const auto name = take_token();
      skip_spaces();
      if (!name.empty() && !text_.empty() && text_.front() == '=' && !is_padding()) {
        text_.remove_prefix(1);
        skip_spaces();
        auto value = take_value();
        if (!value) return false;
        challenge.parameters[to_lower(name)] = std::move(*value);
        first = false;
        continue;
      }
      text_ = rewind;
      return first ? read_token68(challenge) : true;
    }
  }

  /// "abc==" is a token68, "abc=def" a parameter.
  bool is_padding() const {
    const auto end = text_.find_first_not_of('=');
    const auto next = text_.find_first_not_of(" \t", std::min(end, text_.size()));
    return end > 1 || next == std::string_view::npos || text_[next] == ',';
  }

  bool read_token68(AuthChallenge& challenge) {
    if (text_.front() == ',') return true;  // a scheme without parameters
    const auto end = std::min(text_.find_first_of(" \t,"), text_.size());
    challenge.token68 = text_.substr(0, end);
    text_.remove_prefix(end);
    skip_spaces();
    return text_.empty() || text_.front() == ',';
  }

  std::optional<std::string> take_value() {
    if (text_.empty() || text_.front() != '"') {
      const auto token = take_token();
      if (token.empty()) return std::nullopt;
      return std::string(token);
    }
    std::string value;
    for (std::size_t i = 1; i < text_.size(); ++i) {
      if (text_[i] == '"') {
        text_.remove_prefix(i + 1);
        return value;
      }
      if (text_[i] == '\\' && ++i == text_.size()) break;
      value += text_[i];
    }
    return std::nullopt;
  }

  std::string_view text_;
};

}  // namespace

std::string_view AuthChallenge::parameter(std::string_view name) const {
  const auto found = parameters.find(std::string(name));
  return found == parameters.end() ? std::string_view() : found->second;
}

Result<std::vector<AuthChallenge>> parse_challenges(std::string_view header) {
  return ChallengeReader(header).read();
}

Result<TokenResponse> parse_token_response(std::string_view json) {
  const auto document = nlohmann::json::parse(json.begin(), json.end(), nullptr, false);
  if (!document.is_object()) return MirrorError::malformed;
  TokenResponse response;
  for (const char* name : {"token", "access_token"}) {
    const auto token = document.find(name);
    if (token != document.end() && token->is_string() && response.token.empty()) {
      response.token = token->get<std::string>();
    }
  }
  const bool printable = std::all_of(response.token.begin(), response.token.end(),
                                     [](char c) { return c > ' ' && c < '\x7f'; });
  if (response.token.empty() || !printable) return MirrorError::malformed;
  if (const auto expiry = document.find("expires_in");
      expiry != document.end() && expiry->is_number()) {
    // At most a day: a token server's mistake must not keep a dead token for ever.
    const double seconds = std::clamp(expiry->get<double>(), 0.0, 86'400.0);
    response.expires_in = std::chrono::seconds(static_cast<std::int64_t>(seconds));
  }
  return response;
}

std::string basic_authorization(std::string_view username, std::string_view password) {
  std::string pair(username);
  pair.append(":").append(password);
  return "Basic " + to_base64(as_bytes(pair));
}

}  // namespace waggle::mirror
