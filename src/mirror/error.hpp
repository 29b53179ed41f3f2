// What can go wrong between a client's request, the node's content and an upstream registry, as
// values.
#pragma once

#include "base/error.hpp"

#include <optional>
#include <string>

namespace waggle::mirror {

/// One enum for the spoke: parsers say the first group, whoever provides content the second,
/// upstream I/O the third.
enum class MirrorError {
  malformed = 1,   ///< text from outside is not in its format (URL, challenge, JSON); refuse it
  name_invalid,    ///< repository name outside the distribution spec's grammar; 400 NAME_INVALID
  tag_invalid,     ///< reference is neither a tag nor a digest; 400 TAG_INVALID
  digest_invalid,  ///< digest text is malformed or its algorithm unknown; 400 DIGEST_INVALID
  route_unknown,   ///< no such path; 404
  method_unsupported,  ///< neither GET nor HEAD; 405 UNSUPPORTED

  not_found,      ///< neither the cluster nor upstream has it; 404, the client may ask elsewhere
  not_ready,      ///< the node cannot answer yet or is draining; 404 on /v2
  unavailable,    ///< content or upstream cannot be had now; 404 on /v2, so that the client goes
                  ///< upstream itself
  no_credential,  ///< upstream wants a credential nobody here has; 404 on /v2
  timeout,        ///< a deadline passed; retry elsewhere, 404 on /v2
  too_large,      ///< beyond a named limit; 404 on /v2
  canceled,       ///< the caller gave up; nothing to answer

  refused_host,     ///< `upstream.allow` does not list the host; never retried
  refused_address,  ///< the host resolves to a link-local, loopback, multicast or metadata address;
                    ///< never retried
  resolve_failed,   ///< DNS has no answer; retry with backoff
  connect_failed,   ///< no address accepted the connection; retry with backoff
  proxy_failed,     ///< the proxy refused CONNECT; retry with backoff
  tls_failed,  ///< handshake or certificate verification failed; never retried with the same trust
  protocol,    ///< the other side does not speak HTTP/1.1 as expected; drop the connection
  too_many_redirects,  ///< more than limits::upstream_redirects_max; refuse
  short_body,          ///< the connection ended before the announced length; ask for the rest
};

[[nodiscard]] const boost::system::error_category& mirror_category() noexcept;

inline boost::system::error_code make_error_code(MirrorError error) noexcept {
  return {static_cast<int>(error), mirror_category()};
}

/// Non-2xx answers of upstream as an error: 401 and 403 no_credential, 404 and 410 not_found, 413
/// too_large, everything else unavailable. Success for 2xx.
[[nodiscard]] boost::system::error_code error_of_status(unsigned status) noexcept;

/// A refusal in words: what was refused, and which configuration key allows it.
struct Refusal {
  std::string message;
  std::string hint;
};
/// nullopt for errors other than refused_host and refused_address.
/// @param refused  the refused host:port, or empty: then it is `asked`
/// @param asked    the host the client named
[[nodiscard]] std::optional<Refusal> refusal_of(boost::system::error_code error,
                                                const std::string& refused,
                                                const std::string& asked);

}  // namespace waggle::mirror

template <>
struct boost::system::is_error_code_enum<waggle::mirror::MirrorError> : std::true_type {};
