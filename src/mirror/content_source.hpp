// The port between the mirror's HTTP servers and the node: what a server needs to answer requests
// for content. The node implements it; no Asio here. Everything runs on the node's one thread.
#pragma once

#include "base/bytes.hpp"
#include "base/digest.hpp"
#include "base/error.hpp"
#include "mirror/range.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace waggle::mirror {

/// Where the first byte of an answer came from: the X-Waggle-Source header.
enum class Source : std::uint8_t { local, peer, upstream };
[[nodiscard]] std::string_view to_text(Source source);

/// Where a client says its content lies: its own word, for requests of this node only.
struct UrlSource {
  std::string url;            ///< absolute, perhaps signed: never logged, stored or shared
  std::string authorization;  ///< the client's Authorization header, empty when it sent none
};

struct BlobRequest {
  enum class Kind : std::uint8_t { blob, manifest };
  Digest digest;
  std::string registry;    ///< the `ns` query value or mirror.default_registry: "docker.io",
                           ///< "registry.local:5000"
  std::string repository;  ///< "library/busybox"
  Kind kind = Kind::blob;
  std::string authorization;  ///< the client's Authorization header, empty when it sent none
  bool size_only = false;  ///< HEAD: async_open is all that will be called, nothing need be fetched
  /// Set on /blobs: the content's place instead of registry and repository. Its ranges are given
  /// out chunk by chunk as they verify, no tail is held.
  std::optional<UrlSource> from_url;
};

struct BlobInfo {
  std::uint64_t size = 0;
  Source source = Source::local;
};

/// Bytes that may be given out lie in `descriptor`, at the offset that they have in the blob.
struct FileSpan {
  int descriptor = -1;
  std::uint64_t size = 0;
};

template <typename T>
using Callback = std::function<void(Result<T>)>;

/// One client's way through one blob.
/// Contract: one operation at a time; async_open first; the callback runs exactly once, on the
/// node's thread, inside the call or later; after the destructor it never runs, and the destructor
/// ends whatever the operation had started.
class BlobReader {
 public:
  virtual ~BlobReader() = default;

  /// Finds out the blob's size and where its bytes come from.
  virtual void async_open(Callback<BlobInfo> done) = 0;

  /// Copies bytes from `offset` on into `buffer`: at least one, only such as may be given out
  /// (verified, not in the held tail), waiting for them as long as it takes. The caller watches the
  /// clock.
  /// @pre  offset < size, buffer is not empty and stays alive until the callback or the destructor
  virtual void async_read(std::uint64_t offset, MutableByteView buffer,
                          Callback<std::size_t> done) = 0;

  /// True when async_locate may stand for async_read.
  [[nodiscard]] virtual bool is_in_file() const { return false; }
  /// As async_read, without the copy: where 1..size_max bytes from `offset` on lie, for sendfile.
  /// The descriptor stays open until the next operation or the destructor.
  /// @pre  is_in_file(), offset < size, size_max > 0
  virtual void async_locate(std::uint64_t /*offset*/, std::uint64_t /*size_max*/,
                            Callback<FileSpan> done) {
    done(make_error_code(boost::system::errc::not_supported));
  }

  /// After async_open: a descriptor whose file holds exactly the proven blob, for sendfile. It
  /// stays open as long as the reader lives. nullopt: read through async_read.
  [[nodiscard]] virtual std::optional<int> complete_file_descriptor() const { return std::nullopt; }
  /// So many bytes of that file went to the client.
  virtual void file_bytes_sent(std::uint64_t /*bytes*/) {}
  /// After refused_host or refused_address: what was refused, as host:port; empty when that is what
  /// the client named.
  [[nodiscard]] virtual std::string refused() const { return {}; }
  /// What upstream said last of this content, when it did not deliver: the better answer once a
  /// deadline has passed. Success when it said nothing.
  [[nodiscard]] virtual boost::system::error_code upstream_error() const { return {}; }
};

struct TagRequest {
  std::string registry;
  std::string repository;
  std::string tag;
  std::string authorization;
};

struct ResolvedTag {
  Digest digest;
  std::uint64_t size = 0;
  std::string media_type;  ///< empty when unknown: the server then reads the manifest to answer
  Source source = Source::upstream;
};

/// A request that is passed on to the registry as it is: tags/list and referrers.
struct ForwardRequest {
  std::string registry;
  std::string repository;
  std::string path_and_query;  ///< "/v2/library/busybox/tags/list?n=10", without `ns`
  bool head = false;
  std::string accept;
  std::string authorization;
};

struct ForwardResponse {
  unsigned status = 0;
  std::string content_type;
  std::string link;  ///< the next page, verbatim
  std::string body;  ///< at most limits::forward_body_bytes_max
};

/// Contract for the async_ functions: the callback runs exactly once, on the node's thread, inside
/// the call or later. It may run after the server lost interest; it then changes nothing.
class ContentSource {
 public:
  virtual ~ContentSource() = default;

  /// False until the index is ready and while draining: the server answers 404 at once.
  [[nodiscard]] virtual bool ready() const = 0;

  /// True once the node is leaving: nothing new is begun.
  [[nodiscard]] virtual bool draining() const = 0;

  /// Size and place of a blob when a memory read tells them; for HEAD.
  [[nodiscard]] virtual std::optional<BlobInfo> known(const Digest& digest) const = 0;

  /// @param range  what the client will read, as a hint for what to fetch first; null = all of it.
  /// An open range is
  ///               often cut short by the client: nothing should be fetched to its end for it.
  /// @return       never null
  [[nodiscard]] virtual std::unique_ptr<BlobReader> open(const BlobRequest& request,
                                                         const RangeSpec* range) = 0;

  /// Content at a URL that names no digest: passed through from upstream for this client alone.
  /// @param range  as above; the answer covers exactly that, or fails
  [[nodiscard]] virtual std::unique_ptr<BlobReader> open_url(const UrlSource& source,
                                                             const RangeSpec* range) = 0;

  virtual void async_resolve_tag(const TagRequest& request, Callback<ResolvedTag> done) = 0;

  virtual void async_forward(const ForwardRequest& request, Callback<ForwardResponse> done) = 0;
};

}  // namespace waggle::mirror
