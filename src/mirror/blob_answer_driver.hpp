// The part of an answer that every way to a blob shares: waiting with a deadline, sending a range
// from a file or a reader, and the account that is given afterwards. OCI and /blobs add statuses,
// headers and error bodies.
#pragma once

#include "base/time.hpp"
#include "mirror/callback_gate_driver.hpp"
#include "mirror/content_source.hpp"
#include "mirror/http_server_driver.hpp"

#include <chrono>
#include <functional>
#include <string_view>

namespace waggle::mirror {

/// One answered request, for metrics and logs. The views hold during the callback only.
struct ServedRequest {
  std::string_view method;
  std::string_view target;  ///< without what must not be logged
  std::string_view request_id;
  unsigned status = 0;
  std::optional<Source> source;        ///< set when content was given out
  std::uint64_t body_bytes = 0;        ///< handed to the kernel
  bool cut = false;                    ///< the body could not be completed
  std::optional<Duration> first_byte;  ///< until the first body byte was there
  Duration longest_gap{};              ///< between two reads after the first byte
  Duration duration{};
};
using ServedCallback = std::function<void(const ServedRequest&)>;

/// One request on its way through a handler.
class BlobAnswer {
 protected:
  using SteadyTime = std::chrono::steady_clock::time_point;
  using error_code = boost::system::error_code;

  /// @param exchange  outlives the object
  /// @param first_byte  the longest wait for the first byte, and for any later one
  BlobAnswer(HttpExchange& exchange, Duration first_byte)
      : exchange_(exchange), first_byte_(first_byte) {}
  virtual ~BlobAnswer() = default;
  BlobAnswer(const BlobAnswer&) = delete;
  BlobAnswer& operator=(const BlobAnswer&) = delete;

  /// Headers of a 200 or 206 beside Content-Range.
  [[nodiscard]] virtual HeaderList content_headers() const = 0;
  /// The answer instead of a body that cannot be had. @pre nothing begun
  virtual boost::asio::awaitable<void> fail(error_code error) = 0;

  /// Runs `operation(callback)` and waits for its result until `deadline` or the client goes.
  template <typename T, typename Operation>
  boost::asio::awaitable<Result<T>> call(SteadyTime deadline, Operation operation) {
    CallbackGate<T> gate(exchange_.executor());
    exchange_.on_client_gone(gate.canceler());
    if (exchange_.client_gone()) co_return MirrorError::canceled;
    operation(gate.callback());
    co_return co_await gate.wait(deadline);
  }

  /// The body from a file or through the reader; a failure after the first byte cuts.
  /// @pre size > 0; `reader` and `buffer` outlive the coroutine
  boost::asio::awaitable<void> send_blob(BlobReader& reader, std::uint64_t size,
                                         const std::optional<ByteRange>& range, Bytes& buffer);
  void begin(std::uint64_t size, const std::optional<ByteRange>& range);
  boost::asio::awaitable<bool> send(ByteView bytes);
  boost::asio::awaitable<void> respond(unsigned status, HeaderList headers, std::string body);
  void cut();
  void note_first_byte() { served_.first_byte = std::chrono::steady_clock::now() - start_; }
  [[nodiscard]] SteadyTime first_byte_deadline() const { return start_ + first_byte_; }
  /// Ends the account and hands it over.
  void report(std::string_view target, const ServedCallback& callback);

  HttpExchange& exchange_;
  ServedRequest served_;

 private:
  boost::asio::awaitable<void> send_file(BlobReader& reader, int descriptor, std::uint64_t size,
                                         const std::optional<ByteRange>& range);
  boost::asio::awaitable<void> send_stream(BlobReader& reader, std::uint64_t size,
                                           const std::optional<ByteRange>& range, Bytes& buffer);
  /// Waits for bytes from `offset` on, at most to the end of `body`, and sends them. How many went;
  /// 0: the answer has ended.
  boost::asio::awaitable<std::uint64_t> send_piece(BlobReader& reader, std::uint64_t size,
                                                   const std::optional<ByteRange>& range,
                                                   std::uint64_t offset, MutableByteView buffer);
  boost::asio::awaitable<bool> send_span(FileSpan span, std::uint64_t offset);

  const Duration first_byte_;
  const SteadyTime start_ = std::chrono::steady_clock::now();
};

}  // namespace waggle::mirror
