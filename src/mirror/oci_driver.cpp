// From routes to answers. One Answer object carries a request's clock and what is told about it
// afterwards.
#include "mirror/oci_driver.hpp"

#include "base/limits.hpp"
#include "mirror/callback_gate_driver.hpp"
#include "mirror/oci.hpp"
#include "mirror/router.hpp"

#include <algorithm>
#include <chrono>

namespace waggle::mirror {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using SteadyTime = std::chrono::steady_clock::time_point;

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
class Answer {
 public:
  Answer(ContentSource& source, const OciConfig& config, HttpExchange& exchange)
      : source_(source),
        config_(config),
        exchange_(exchange),
        start_(std::chrono::steady_clock::now()) {}

  asio::awaitable<void> run() {
    const auto route = route_oci(exchange_.request().method, exchange_.request().target);
    if (!route) {
      co_await fail(route.error(), OciSubject::name);
    } else {
      subject_ = subject_of(*route);
      co_await dispatch(*route);
    }
    exchange_.on_client_gone(nullptr);
    report();
  }

 private:
  // The functions that build arguments are plain ones that return a coroutine: temporaries inside a
  // co_await expression are what GCC 12 gets wrong.
  asio::awaitable<void> dispatch(const Route& route) {
    const std::string registry = route.registry.empty() ? config_.default_registry : route.registry;
    const std::string authorization(exchange_.request().header("Authorization"));
    if (route.kind == Route::Kind::ping) return respond(200, "application/json", {}, "{}");
    if (!source_.ready()) return fail(MirrorError::not_ready, subject_);
    if (route.kind == Route::Kind::tags || route.kind == Route::Kind::referrers) {
      const std::string accept(exchange_.request().header("Accept"));
      return forward({registry, route.repository, route.forward_target,
                      exchange_.request().is_head(), accept, authorization});
    }
    if (!route.digest) return serve_tag({registry, route.repository, route.tag, authorization});
    const bool manifest = route.kind == Route::Kind::manifest;
    const auto kind = manifest ? BlobRequest::Kind::manifest : BlobRequest::Kind::blob;
    return serve({*route.digest, registry, route.repository, kind, authorization, false});
  }

  /// Runs `operation(callback)` and waits for its result until `deadline` or the client goes.
  template <typename T, typename Operation>
  asio::awaitable<Result<T>> call(SteadyTime deadline, Operation operation) {
    CallbackGate<T> gate(exchange_.executor());
    exchange_.on_client_gone(gate.canceler());
    if (exchange_.client_gone()) co_return MirrorError::canceled;
    operation(gate.callback());
    co_return co_await gate.wait(deadline);
  }

  asio::awaitable<void> serve_tag(TagRequest request) {
    const auto resolved = co_await call<ResolvedTag>(first_byte_deadline(), [&](auto done) {
      source_.async_resolve_tag(request, std::move(done));
    });
    if (!resolved) co_return co_await fail(resolved.error(), subject_);
    if (exchange_.request().is_head() && !resolved->media_type.empty()) {
      served_.source = resolved->source;
      begin(200, resolved->digest, resolved->media_type, resolved->size, {});
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
        begin(200, request.digest, octet_stream, known->size, {});
        co_return;
      }
    }
    request.size_only = head && request.kind == BlobRequest::Kind::blob;
    const auto spec = wanted_range(request.digest);
    Bytes buffer;  // outlives the reader, which may be writing into it until it is destroyed
    const auto reader = source_.open(request, spec ? &*spec : nullptr);
    const auto info = co_await call<BlobInfo>(
        first_byte_deadline(), [&](auto done) { reader->async_open(std::move(done)); });
    if (!info) co_return co_await fail(info.error(), subject_);
    served_.source = info->source;
    std::optional<ByteRange> range;
    if (spec && info->size > 0) {  // containerd sends bytes=0- for everything, empty blobs included
      range = resolve_range(*spec, info->size);
      if (!range) co_return co_await refuse_range(info->size);
    }
    if (request.kind == BlobRequest::Kind::manifest) {
      co_await serve_manifest(request.digest, *reader, info->size, range, buffer);
    } else if (head || info->size == 0) {
      begin(200, request.digest, octet_stream, info->size, {});
    } else if (const auto descriptor = reader->complete_file_descriptor()) {
      co_await serve_file(request.digest, *reader, *descriptor, info->size, range);
    } else {
      co_await serve_stream(request.digest, *reader, info->size, range, buffer);
    }
  }

  // Each of these is awaited in place by serve(), whose frame owns what they refer to.
  // NOLINTBEGIN(cppcoreguidelines-avoid-reference-coroutine-parameters)
  asio::awaitable<void> serve_manifest(const Digest& digest, BlobReader& reader, std::uint64_t size,
                                       const std::optional<ByteRange>& range, Bytes& buffer) {
    if (size > limits::manifest_bytes_max)
      co_return co_await fail(MirrorError::too_large, subject_);
    buffer.resize(size);
    for (std::uint64_t offset = 0; offset < size;) {
      const auto rest = MutableByteView(buffer).subspan(offset);
      const auto read = co_await call<std::size_t>(first_byte_deadline(), [&](auto done) {
        reader.async_read(offset, rest, std::move(done));
      });
      if (!read) co_return co_await fail(read.error(), subject_);
      offset += *read;
    }
    note_first_byte();
    begin(range ? 206 : 200, digest, manifest_media_type(buffer), size, range);
    const auto body =
        range ? ByteView(buffer).subspan(range->first, range->size()) : ByteView(buffer);
    co_await send(body);
  }

  asio::awaitable<void> serve_file(const Digest& digest, BlobReader& reader, int descriptor,
                                   std::uint64_t size, const std::optional<ByteRange>& range) {
    note_first_byte();
    begin(range ? 206 : 200, digest, octet_stream, size, range);
    const auto body = range.value_or(ByteRange{0, size - 1});
    const auto sent = co_await exchange_.write_file(descriptor, body.first, body.size());
    if (!sent) co_return cut();
    served_.body_bytes = body.size();
    reader.file_bytes_sent(body.size());
  }

  asio::awaitable<void> serve_stream(const Digest& digest, BlobReader& reader, std::uint64_t size,
                                     const std::optional<ByteRange>& range, Bytes& buffer) {
    const auto body = range.value_or(ByteRange{0, size - 1});
    buffer.resize(std::min<std::uint64_t>(body.size(), limits::http_write_bytes));
    for (auto offset = body.first; offset <= body.last;) {
      const auto rest = std::min<std::uint64_t>(body.last - offset + 1, buffer.size());
      const auto piece = MutableByteView(buffer).first(rest);
      const auto asked = std::chrono::steady_clock::now();
      const auto deadline = exchange_.begun() ? asked + config_.first_byte : first_byte_deadline();
      const auto read = co_await call<std::size_t>(
          deadline, [&](auto done) { reader.async_read(offset, piece, std::move(done)); });
      if (!read) {
        if (exchange_.begun()) co_return cut();
        co_return co_await fail(read.error(), subject_);
      }
      if (exchange_.begun()) {
        served_.longest_gap =
            std::max<Duration>(served_.longest_gap, std::chrono::steady_clock::now() - asked);
      } else {
        note_first_byte();
        begin(range ? 206 : 200, digest, octet_stream, size, range);
      }
      if (!co_await send(piece.first(*read))) co_return;
      offset += *read;
    }
  }
  // NOLINTEND(cppcoreguidelines-avoid-reference-coroutine-parameters)

  asio::awaitable<void> forward(ForwardRequest request) {
    const auto answer = co_await call<ForwardResponse>(
        first_byte_deadline(), [&](auto done) { source_.async_forward(request, std::move(done)); });
    if (!answer) co_return co_await fail(answer.error(), subject_);
    if (const auto error = error_of_status(answer->status))
      co_return co_await fail(error, subject_);
    served_.source = Source::upstream;
    HeaderList headers;
    if (!answer->link.empty()) headers.emplace_back("Link", answer->link);
    note_first_byte();
    co_await respond(answer->status, answer->content_type, std::move(headers), answer->body);
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

  void begin(unsigned status, const Digest& digest, std::string_view media_type, std::uint64_t size,
             const std::optional<ByteRange>& range) {
    served_.status = status;
    HttpResponseHead head;
    head.status = status;
    head.headers = common_headers();
    head.headers.insert(head.headers.end(), {{"Content-Type", std::string(media_type)},
                                             {"Docker-Content-Digest", digest.to_string()},
                                             {"ETag", entity_tag(digest)},
                                             {"Accept-Ranges", "bytes"}});
    if (range) head.headers.emplace_back("Content-Range", content_range_text(*range, size));
    head.content_length = range ? range->size() : size;
    exchange_.begin(std::move(head));
  }

  asio::awaitable<bool> send(ByteView bytes) {
    const auto sent = co_await exchange_.write(bytes);
    if (sent && !exchange_.request().is_head()) served_.body_bytes += bytes.size();
    if (!sent) cut();
    co_return sent.has_value();
  }

  asio::awaitable<void> respond(unsigned status, std::string media_type, HeaderList headers,
                                std::string body) {
    served_.status = status;
    HttpResponseHead head;
    head.status = status;
    head.headers = common_headers();
    head.headers.emplace_back("Content-Type", std::move(media_type));
    for (auto& header : headers) head.headers.push_back(std::move(header));
    if (!exchange_.request().is_head()) served_.body_bytes = body.size();
    const auto sent = co_await exchange_.respond(std::move(head), std::move(body));
    if (!sent) cut();
  }

  asio::awaitable<void> fail(error_code error, OciSubject subject) {
    const auto answer = oci_error_of(error, subject);
    HeaderList headers;
    if (answer.status == 405) headers.emplace_back("Allow", "GET, HEAD");
    served_.source.reset();
    return respond(answer.status, "application/json", std::move(headers),
                   oci_error_json(answer.code, error.message()));
  }

  asio::awaitable<void> refuse_range(std::uint64_t size) {
    return respond(416, "application/json", {{"Content-Range", unsatisfied_range_text(size)}},
                   OciHandler::error_body(416, "range is not satisfiable"));
  }

  HeaderList common_headers() const {
    return {{"Docker-Distribution-Api-Version", "registry/2.0"},
            {"X-Waggle-Source", std::string(to_text(served_.source.value_or(Source::local)))}};
  }

  void cut() {
    served_.cut = true;
    exchange_.cut();
  }

  void note_first_byte() { served_.first_byte = std::chrono::steady_clock::now() - start_; }
  SteadyTime first_byte_deadline() const { return start_ + config_.first_byte; }

  void report() {
    if (!config_.on_served) return;
    const auto& request = exchange_.request();
    served_.method = request.method;
    served_.target = request.target;
    served_.request_id = request.request_id;
    served_.duration = std::chrono::steady_clock::now() - start_;
    config_.on_served(served_);
  }

  static constexpr std::string_view octet_stream = "application/octet-stream";

  ContentSource& source_;
  const OciConfig& config_;
  HttpExchange& exchange_;
  SteadyTime start_;
  OciSubject subject_ = OciSubject::name;
  ServedRequest served_;
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
