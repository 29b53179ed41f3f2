// From routes to answers. One Answer object carries a request's clock and what is told about it
// afterwards.
#include "mirror/oci_driver.hpp"

#include "base/limits.hpp"
#include "mirror/oci.hpp"
#include "mirror/router.hpp"

namespace waggle::mirror {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

OciSubject subject_of(const Route& route) {
  switch (route.kind) {
    case Route::Kind::manifest:
      return OciSubject::manifest;
    case Route::Kind::blob:
      return OciSubject::blob;
    case Route::Kind::ping:
    case Route::Kind::tags:
    case Route::Kind::referrers:
      break;
  }
  return OciSubject::name;
}

std::string_view code_of_status(unsigned status) {
  switch (status) {
    case 403:
      return "DENIED";
    case 405:
      return "UNSUPPORTED";
    case 416:
      return "RANGE_INVALID";
    case 500:
    case 503:
      return "UNAVAILABLE";
    default:
      return "UNKNOWN";
  }
}

/// One request on its way through the handler.
class Answer final : private BlobAnswer {
 public:
  Answer(ContentSource& source, const OciConfig& config, HttpExchange& exchange)
      : BlobAnswer(exchange, config.first_byte), source_(source), config_(config) {}

  asio::awaitable<void> run() {
    const auto route = route_oci(exchange_.request().method, exchange_.request().target);
    if (!route) {
      co_await fail(route.error());
    } else {
      subject_ = subject_of(*route);
      co_await dispatch(*route);
    }
    report(exchange_.request().target, config_.on_served);
  }

 private:
  // The functions that build arguments are plain ones that return a coroutine: temporaries inside a
  // co_await expression are what GCC 12 gets wrong.
  asio::awaitable<void> dispatch(const Route& route) {
    registry_ = route.registry.empty() ? config_.default_registry : route.registry;
    const std::string authorization(exchange_.request().header("Authorization"));
    if (route.kind == Route::Kind::ping) return respond_typed(200, "application/json", {}, "{}");
    if (!source_.ready()) return fail(MirrorError::not_ready);
    if (route.kind == Route::Kind::tags || route.kind == Route::Kind::referrers) {
      const std::string accept(exchange_.request().header("Accept"));
      return forward({registry_, route.repository, route.forward_target,
                      exchange_.request().is_head(), accept, authorization});
    }
    if (!route.digest) return serve_tag({registry_, route.repository, route.tag, authorization});
    BlobRequest request;
    request.digest = *route.digest;
    request.registry = registry_;
    request.repository = route.repository;
    const bool manifest = route.kind == Route::Kind::manifest;
    request.kind = manifest ? BlobRequest::Kind::manifest : BlobRequest::Kind::blob;
    request.authorization = authorization;
    return serve(std::move(request));
  }

  asio::awaitable<void> serve_tag(TagRequest request) {
    const auto resolved = co_await call<ResolvedTag>(first_byte_deadline(), [&](auto done) {
      source_.async_resolve_tag(request, std::move(done));
    });
    if (!resolved) co_return co_await fail(resolved.error());
    if (exchange_.request().is_head() && !resolved->media_type.empty()) {
      served_.source = resolved->source;
      begin_content(resolved->digest, resolved->media_type, resolved->size, {});
      co_return;
    }
    BlobRequest manifest;
    manifest.digest = resolved->digest;
    manifest.registry = request.registry;
    manifest.repository = request.repository;
    manifest.kind = BlobRequest::Kind::manifest;
    manifest.authorization = request.authorization;
    co_await serve(std::move(manifest));
  }

  asio::awaitable<void> serve(BlobRequest request) {
    const bool head = exchange_.request().is_head();
    if (head && request.kind == BlobRequest::Kind::blob) {
      if (const auto known = source_.known(request.digest)) {
        served_.source = known->source;
        begin_content(request.digest, octet_stream, known->size, {});
        co_return;
      }
    }
    request.size_only = head && request.kind == BlobRequest::Kind::blob;
    const auto spec = wanted_range(request.digest);
    Bytes buffer;  // outlives the reader, which may be writing into it until it is destroyed
    const auto reader = source_.open(request, spec ? &*spec : nullptr);
    reader_ = reader.get();
    const auto info = co_await call<BlobInfo>(
        first_byte_deadline(), [&](auto done) { reader->async_open(std::move(done)); });
    if (!info) {
      co_await fail(info.error());
    } else {
      served_.source = info->source;
      co_await serve_opened(request, *reader, info->size, spec, buffer);
    }
    reader_ = nullptr;
  }

  // Each of these is awaited in place by serve(), whose frame owns what they refer to.
  // NOLINTBEGIN(cppcoreguidelines-avoid-reference-coroutine-parameters)
  asio::awaitable<void> serve_opened(const BlobRequest& request, BlobReader& reader,
                                     std::uint64_t size, const std::optional<RangeSpec>& spec,
                                     Bytes& buffer) {
    std::optional<ByteRange> range;
    if (spec && size > 0) {  // containerd sends bytes=0- for everything, empty blobs included
      range = resolve_range(*spec, size);
      if (!range) co_return co_await refuse_range(size);
    }
    if (request.kind == BlobRequest::Kind::manifest) {
      co_await serve_manifest(request.digest, reader, size, range, buffer);
    } else if (exchange_.request().is_head() || size == 0) {
      begin_content(request.digest, octet_stream, size, {});
    } else {
      describe(request.digest, octet_stream);
      co_await send_blob(reader, size, range, buffer);
    }
  }

  asio::awaitable<void> serve_manifest(const Digest& digest, BlobReader& reader, std::uint64_t size,
                                       const std::optional<ByteRange>& range, Bytes& buffer) {
    if (size > limits::manifest_bytes_max) co_return co_await fail(MirrorError::too_large);
    buffer.resize(size);
    for (std::uint64_t offset = 0; offset < size;) {
      const auto rest = MutableByteView(buffer).subspan(offset);
      const auto read = co_await call<std::size_t>(first_byte_deadline(), [&](auto done) {
        reader.async_read(offset, rest, std::move(done));
      });
      if (!read) co_return co_await fail(read.error());
      offset += *read;
    }
    note_first_byte();
    begin_content(digest, manifest_media_type(buffer), size, range);
    const auto body =
        range ? ByteView(buffer).subspan(range->first, range->size()) : ByteView(buffer);
    co_await send(body);
  }
  // NOLINTEND(cppcoreguidelines-avoid-reference-coroutine-parameters)

  asio::awaitable<void> forward(ForwardRequest request) {
    const auto answer = co_await call<ForwardResponse>(
        first_byte_deadline(), [&](auto done) { source_.async_forward(request, std::move(done)); });
    if (!answer) co_return co_await fail(answer.error());
    if (const auto error = error_of_status(answer->status)) co_return co_await fail(error);
    served_.source = Source::upstream;
    HeaderList headers;
    if (!answer->link.empty()) headers.emplace_back("Link", answer->link);
    note_first_byte();
    co_await respond_typed(answer->status, answer->content_type, std::move(headers), answer->body);
  }

  /// The Range header, if it is to be heeded.
  std::optional<RangeSpec> wanted_range(const Digest& digest) const {
    const auto& request = exchange_.request();
    if (request.is_head()) return std::nullopt;  // RFC 9110 section 14.2: GET only
    const auto condition = request.header("If-Range");
    if (!condition.empty() && condition != entity_tag(digest)) return std::nullopt;
    return parse_range(request.header("Range"));
  }

  static std::string entity_tag(const Digest& digest) { return '"' + digest.to_string() + '"'; }

  void describe(const Digest& digest, std::string_view media_type) {
    digest_ = digest;
    media_type_ = media_type;
  }

  void begin_content(const Digest& digest, std::string_view media_type, std::uint64_t size,
                     const std::optional<ByteRange>& range) {
    describe(digest, media_type);
    begin(size, range);
  }

  [[nodiscard]] HeaderList content_headers() const override {
    HeaderList headers = common_headers();
    headers.insert(headers.end(), {{"Content-Type", media_type_},
                                   {"Docker-Content-Digest", digest_.to_string()},
                                   {"ETag", entity_tag(digest_)}});
    return headers;
  }

  asio::awaitable<void> respond_typed(unsigned status, std::string_view media_type,
                                      HeaderList extra, std::string body) {
    HeaderList headers = common_headers();
    headers.emplace_back("Content-Type", media_type);
    for (auto& header : extra) headers.push_back(std::move(header));
    return respond(status, std::move(headers), std::move(body));
  }

  asio::awaitable<void> fail(error_code error) override {
    // A refusal says more than the deadline that passed while others were asked.
    if (error == MirrorError::timeout && reader_ != nullptr && !reader_->refused().empty())
      error = reader_->upstream_error();
    const auto answer = oci_error_of(error, subject_);
    HeaderList headers;
    if (answer.status == 405) headers.emplace_back("Allow", "GET, HEAD");
    served_.source.reset();
    if (const auto refusal =
            refusal_of(error, reader_ != nullptr ? reader_->refused() : "", registry_)) {
      return respond_typed(answer.status, "application/json", std::move(headers),
                           oci_error_json("DENIED", refusal->message, refusal->hint));
    }
    return respond_typed(answer.status, "application/json", std::move(headers),
                         oci_error_json(answer.code, error.message()));
  }

  asio::awaitable<void> refuse_range(std::uint64_t size) {
    return respond_typed(416, "application/json", {{"Content-Range", unsatisfied_range_text(size)}},
                         OciHandler::error_body(416, "range is not satisfiable"));
  }

  HeaderList common_headers() const {
    return {{"Docker-Distribution-Api-Version", "registry/2.0"},
            {"X-Waggle-Source", std::string(to_text(served_.source.value_or(Source::local)))}};
  }

  static constexpr std::string_view octet_stream = "application/octet-stream";

  ContentSource& source_;
  const OciConfig& config_;
  OciSubject subject_ = OciSubject::name;
  std::string registry_;
  const BlobReader* reader_ = nullptr;  ///< while one is open
  Digest digest_;
  std::string media_type_;
};

}  // namespace

OciHandler::OciHandler(ContentSource& source, OciConfig config)
    : source_(source), config_(std::move(config)) {}

// The server owns the exchange for as long as this coroutine runs.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-reference-coroutine-parameters)
asio::awaitable<void> OciHandler::handle(HttpExchange& exchange) {
  Answer answer(source_, config_, exchange);
  co_await answer.run();
}

std::string OciHandler::error_body(unsigned status, std::string_view message) {
  return oci_error_json(code_of_status(status), message);
}

}  // namespace waggle::mirror
