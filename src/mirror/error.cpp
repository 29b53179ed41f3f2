// Names of the mirror's errors, as they appear in logs.
#include "mirror/error.hpp"

namespace waggle::mirror {
namespace {

class MirrorCategory final : public boost::system::error_category {
 public:
  const char* name() const noexcept override { return "waggle.mirror"; }
  std::string message(int value) const override {
    switch (static_cast<MirrorError>(value)) {
      case MirrorError::malformed:
        return "text is malformed";
      case MirrorError::name_invalid:
        return "invalid repository name";
      case MirrorError::tag_invalid:
        return "invalid tag";
      case MirrorError::digest_invalid:
        return "invalid digest";
      case MirrorError::route_unknown:
        return "no such path";
      case MirrorError::method_unsupported:
        return "method is not supported";
      case MirrorError::not_found:
        return "content is not known";
      case MirrorError::not_ready:
        return "node is not ready";
      case MirrorError::unavailable:
        return "content is not available now";
      case MirrorError::no_credential:
        return "upstream wants a credential that is not configured";
      case MirrorError::timeout:
        return "deadline passed";
      case MirrorError::too_large:
        return "content exceeds a limit";
      case MirrorError::canceled:
        return "request was canceled";
      case MirrorError::refused_host:
        return "host is not in upstream.allow";
      case MirrorError::refused_address:
        return "host has a refused address";
      case MirrorError::resolve_failed:
        return "host name does not resolve";
      case MirrorError::connect_failed:
        return "connection failed";
      case MirrorError::proxy_failed:
        return "proxy refused the connection";
      case MirrorError::tls_failed:
        return "TLS handshake or certificate check failed";
      case MirrorError::protocol:
        return "unexpected HTTP";
      case MirrorError::too_many_redirects:
        return "too many redirects";
      case MirrorError::short_body:
        return "body ended before its announced length";
    }
    return "unknown error";
  }
};

}  // namespace

const boost::system::error_category& mirror_category() noexcept {
  static const MirrorCategory category;
  return category;
}

boost::system::error_code error_of_status(unsigned status) noexcept {
  if (status >= 200 && status < 300) return {};
  switch (status) {
    case 401:
    case 403:
      return MirrorError::no_credential;
    case 404:
    case 410:
      return MirrorError::not_found;
    case 413:
      return MirrorError::too_large;
    default:
      return MirrorError::unavailable;
  }
}

std::optional<Refusal> refusal_of(boost::system::error_code error, const std::string& refused,
                                  const std::string& asked) {
  const std::string& what = refused.empty() ? asked : refused;
  // A redirect or a token realm led there.
  const bool is_other = !refused.empty() && refused != asked && !refused.starts_with(asked + ":");
  const std::string from = is_other ? " (asked for " + asked + ")" : "";
  if (error == MirrorError::refused_host) {
    return Refusal{"host '" + what + "' is not in upstream.allow" + from,
                   "to allow it, add it to upstream.allow in waggled's configuration"};
  }
  if (error == MirrorError::refused_address) {
    return Refusal{
        "host '" + what + "' has a loopback, link-local, multicast or metadata address" + from,
        "to allow it, add it to upstream.allow_local in waggled's configuration, or make "
        "it the endpoint of a registry there"};
  }
  return std::nullopt;
}

}  // namespace waggle::mirror
