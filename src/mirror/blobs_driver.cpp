// From a /blobs/ request to an answer.
#include "mirror/blobs_driver.hpp"

#include "base/limits.hpp"
#include "mirror/blob_url.hpp"

#include <nlohmann/json.hpp>

namespace waggle::mirror {
namespace {

namespace asio = boost::asio;

constexpr const char* resolve_hint = "resolve the URL anew: its signature may have expired";

struct BlobsError {
  unsigned status = 503;
  const char* code = "UNAVAILABLE";
  const char* hint = "try again";
};

BlobsError blobs_error_of(boost::system::error_code error) {
  if (error == MirrorError::method_unsupported) return {405, "METHOD_NOT_ALLOWED", "use GET"};
  if (error == MirrorError::malformed || error == MirrorError::route_unknown) {
    return {400, "URL_INVALID", "ask for /blobs/https://host/path, without a user name"};
  }
  if (error == MirrorError::no_credential) return {403, "DENIED_UPSTREAM", resolve_hint};
  if (error == MirrorError::not_found) return {404, "NOT_FOUND_UPSTREAM", resolve_hint};
  if (error == MirrorError::refused_host || error == MirrorError::refused_address) {
    return {403, "HOST_REFUSED", ""};
  }
  return {};
}

std::string error_body(std::string_view code, std::string_view message, std::string_view hint) {
  const nlohmann::ordered_json body = {
      {"error", {{"code", code}, {"message", message}, {"hint", hint}}}};
  return body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

class Answer final : private BlobAnswer {
 public:
  Answer(ContentSource& source, const BlobsConfig& config, HttpExchange& exchange)
      : BlobAnswer(exchange, config.first_byte), source_(source), config_(config) {}

  asio::awaitable<void> run() {
    const auto& request = exchange_.request();
    auto parsed = parse_blobs_target(request.method, request.target);
    if (!parsed) {
      co_await fail(parsed.error());
    } else {
      blob_ = *std::move(parsed);
      if (source_.draining()) {
        co_await fail(MirrorError::not_ready);
      } else {
        co_await serve();
      }
    }
    report("/blobs/" + blob_.shown, config_.on_served);
  }

 private:
  asio::awaitable<void> serve() {
    const bool head = exchange_.request().is_head();
    const auto header = exchange_.request().header("Range");
    const bool ranged = !head && !header.empty();  // RFC 9110 section 14.2: GET only
    const auto spec = ranged ? parse_range(header) : std::nullopt;
    if (ranged && !spec) co_return co_await refuse_range(std::nullopt);
    if (ranged && !condition_holds()) co_return co_await refuse_condition();
    if (head && blob_.digest) {
      if (const auto known = source_.known(*blob_.digest)) {
        served_.source = known->source;
        begin(known->size, {});
        co_return;
      }
    }
    Bytes buffer;  // outlives the reader, which may be writing into it until it is destroyed
    const auto reader = open(spec ? &*spec : nullptr);
    reader_ = reader.get();
    const auto info = co_await call<BlobInfo>(
        first_byte_deadline(), [&](auto done) { reader->async_open(std::move(done)); });
    if (!info) {
      co_await fail(info.error());
    } else {
      served_.source = info->source;
      const auto range = spec ? resolve_range(*spec, info->size) : std::nullopt;
      if (spec && !range) {
        co_await refuse_range(info->size);
      } else if (head || info->size == 0) {
        begin(info->size, {});
      } else {
        co_await send_blob(*reader, info->size, range, buffer);
      }
    }
    reader_ = nullptr;
  }

  std::unique_ptr<BlobReader> open(const RangeSpec* range) {
    UrlSource from{blob_.url, std::string(exchange_.request().header("Authorization"))};
    // A size is asked with one byte: signed URLs are good for GET only.
    static constexpr RangeSpec first_byte{RangeSpec::Kind::closed, 0, 0, 0};
    const bool head = exchange_.request().is_head();
    if (!blob_.digest || head) return source_.open_url(from, head ? &first_byte : range);
    BlobRequest request;
    request.digest = *blob_.digest;
    request.registry = blob_.host;  // for messages
    request.from_url = std::move(from);
    return source_.open(request, range);
  }

  /// If-Range names this very digest, or is absent. Another would ask for a 200.
  [[nodiscard]] bool condition_holds() const {
    const auto condition = exchange_.request().header("If-Range");
    return condition.empty() || condition == entity_tag();
  }

  [[nodiscard]] std::string entity_tag() const {
    return blob_.digest ? '"' + blob_.digest->to_string() + '"' : std::string();
  }

  [[nodiscard]] HeaderList content_headers() const override {
    HeaderList headers = {
        {"X-Waggle-Source", std::string(to_text(served_.source.value_or(Source::local)))},
        {"Content-Type", "application/octet-stream"}};
    if (blob_.digest) headers.emplace_back("ETag", entity_tag());
    return headers;
  }

  asio::awaitable<void> fail(error_code error) override {
    // The deadline is ours; what upstream said before it tells the client more.
    if (error == MirrorError::timeout && reader_ != nullptr && reader_->upstream_error())
      error = reader_->upstream_error();
    const auto answer = blobs_error_of(error);
    served_.source.reset();
    HeaderList headers;
    if (answer.status == 405) headers.emplace_back("Allow", "GET, HEAD");
    if (const auto refusal =
            refusal_of(error, reader_ != nullptr ? reader_->refused() : "", blob_.host)) {
      return refuse(answer.status, std::move(headers),
                    error_body(answer.code, refusal->message, refusal->hint));
    }
    return refuse(answer.status, std::move(headers),
                  error_body(answer.code, error.message(), answer.hint));
  }

  asio::awaitable<void> refuse_range(std::optional<std::uint64_t> size) {
    HeaderList headers;
    if (size) headers.emplace_back("Content-Range", unsatisfied_range_text(*size));
    return refuse(416, std::move(headers),
                  error_body("RANGE_INVALID", "range is not satisfiable",
                             "ask for one range, as bytes=FIRST-LAST"));
  }

  asio::awaitable<void> refuse_condition() {
    return refuse(412, {},
                  error_body("CONDITION_FAILED", "If-Range does not name this content",
                             "leave If-Range out"));
  }

  asio::awaitable<void> refuse(unsigned status, HeaderList headers, std::string body) {
    headers.emplace_back("Content-Type", "application/json");
    headers.emplace_back("X-Waggle-Source", "local");
    return respond(status, std::move(headers), std::move(body));
  }

  ContentSource& source_;
  const BlobsConfig& config_;
  BlobUrl blob_;
  const BlobReader* reader_ = nullptr;  ///< while one is open
};

}  // namespace

BlobsHandler::BlobsHandler(ContentSource& source, BlobsConfig config)
    : source_(source), config_(std::move(config)) {}

// The server owns the exchange for as long as this coroutine runs.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-reference-coroutine-parameters)
asio::awaitable<void> BlobsHandler::handle(HttpExchange& exchange) {
  Answer answer(source_, config_, exchange);
  co_await answer.run();
}

}  // namespace waggle::mirror
