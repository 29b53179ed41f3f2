// Content at a client's URL, read from upstream for that client alone: no digest to share it by, or
// the operator wants unproven ranges from upstream only (mirror.lazy_reads).
#pragma once

#include "base/bytes.hpp"
#include "mirror/content_source.hpp"
#include "mirror/upstream_driver.hpp"
#include "node/content_driver.hpp"

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <optional>
#include <string>

namespace waggle::node {

/// Upstream is asked for the very range the client wants. Where upstream answers the whole body to
/// that, the bytes before the range are read away; where it sends less, the rest is asked again.
class UrlReader final : public mirror::BlobReader {
 public:
  /// @param beside  kept as long as this reader; may be null
  UrlReader(ContentDriver& content, mirror::UrlSource source, const mirror::RangeSpec* range,
            std::unique_ptr<mirror::BlobReader> beside);
  /// Cancels.
  ~UrlReader() override;
  void async_open(mirror::Callback<mirror::BlobInfo> done) override;
  void async_read(std::uint64_t offset, MutableByteView buffer,
                  mirror::Callback<std::size_t> done) override;
  [[nodiscard]] std::string refused() const override { return state_->refused; }

 private:
  /// Outlives the reader while a request is being cancelled.
  struct State {
    mirror::UpstreamDriver& upstream;
    ops::Metrics& metrics;
    mirror::UrlSource source;
    std::optional<mirror::RangeSpec> range;
    std::unique_ptr<mirror::UpstreamRequest> request;
    std::string refused;
    std::optional<std::uint64_t> size;
    std::uint64_t at = 0;  ///< the next byte of the body
    bool alive = true;
  };
  static boost::asio::awaitable<Result<mirror::BlobInfo>> open(std::shared_ptr<State> state);
  static Result<void> adopt(State& state, const mirror::UpstreamHead& head);
  static boost::asio::awaitable<Result<Bytes>> read(std::shared_ptr<State> state,
                                                    std::uint64_t offset, std::size_t bytes_max);
  static boost::asio::awaitable<Result<std::size_t>> read_body(std::shared_ptr<State> state,
                                                               Bytes& buffer);

  boost::asio::any_io_executor strand_;
  std::shared_ptr<State> state_;
  std::unique_ptr<mirror::BlobReader> beside_;
};

}  // namespace waggle::node
