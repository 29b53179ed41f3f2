// One upstream request per reader, as long as upstream does what it is asked.
#include "node/url_reader_driver.hpp"

#include "base/limits.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include <algorithm>
#include <utility>

namespace waggle::node {
namespace {

namespace asio = boost::asio;
using mirror::MirrorError;

constexpr std::size_t read_bytes = 64 * limits::KiB;

}  // namespace

UrlReader::UrlReader(ContentDriver& content, mirror::UrlSource source,
                     const mirror::RangeSpec* range, std::unique_ptr<mirror::BlobReader> beside)
    : strand_(content.strand_),
      state_(std::make_shared<State>(State{.upstream = content.deps_.upstream,
                                           .metrics = content.deps_.metrics,
                                           .source = std::move(source)})),
      beside_(std::move(beside)) {
  if (range != nullptr) state_->range = *range;
}

UrlReader::~UrlReader() {
  state_->alive = false;
  if (state_->request) state_->request->cancel();
}

void UrlReader::async_open(mirror::Callback<mirror::BlobInfo> done) {
  asio::co_spawn(
      strand_,
      [](std::shared_ptr<State> state,
         mirror::Callback<mirror::BlobInfo> callback) -> asio::awaitable<void> {
        auto info = co_await open(state);
        if (state->alive) callback(std::move(info));
      }(state_, std::move(done)),
      asio::detached);
}

void UrlReader::async_read(std::uint64_t offset, MutableByteView buffer,
                           mirror::Callback<std::size_t> done) {
  asio::co_spawn(
      strand_,
      [](std::shared_ptr<State> state, std::uint64_t from, MutableByteView out,
         mirror::Callback<std::size_t> callback) -> asio::awaitable<void> {
        const auto bytes = co_await read(state, from, out.size());
        if (!state->alive) co_return;
        if (!bytes) co_return callback(bytes.error());
        std::copy(bytes->begin(), bytes->end(), out.begin());
        callback(bytes->size());
      }(state_, offset, buffer, std::move(done)),
      asio::detached);
}

asio::awaitable<Result<mirror::BlobInfo>> UrlReader::open(std::shared_ptr<State> state) {
  mirror::UpstreamTarget target;
  target.url = state->source.url;
  target.authorization = state->source.authorization;
  target.range = state->range;
  state->request = state->upstream.get(std::move(target));
  const auto head = co_await state->request->start();
  count_answer(state->metrics, head);
  if (!head) {
    state->refused = state->request->refused();
    co_return head.error();
  }
  if (const auto adopted = adopt(*state, *head); !adopted) co_return adopted.error();
  co_return mirror::BlobInfo{*state->size, mirror::Source::upstream};
}

/// Size and first byte of what upstream is about to send.
Result<void> UrlReader::adopt(State& state, const mirror::UpstreamHead& head) {
  std::optional<std::uint64_t> size;
  std::uint64_t first = 0;
  if (head.status == 206 && head.content_range && head.content_range->range) {
    size = head.content_range->total;
    first = head.content_range->range->first;
  } else if (head.status == 416 && head.content_range) {
    size = head.content_range->total;  // the caller answers 416 by it
  } else if (head.status == 200) {
    size = head.content_length;
  } else if (const auto error = mirror::error_of_status(head.status)) {
    return error;
  }
  if (!size || (state.size && state.size != size)) return MirrorError::unavailable;
  state.size = size;
  state.at = first;
  return boost::system::in_place_value;
}

asio::awaitable<Result<Bytes>> UrlReader::read(std::shared_ptr<State> state, std::uint64_t offset,
                                               std::size_t bytes_max) {
  Bytes buffer;
  for (bool asked_again = false;;) {
    while (state->alive && state->at <= offset) {
      const std::uint64_t skip = offset - state->at;
      const std::size_t wanted = skip > 0 ? read_bytes : std::min(read_bytes, bytes_max);
      buffer.resize(skip > 0 ? std::min<std::uint64_t>(skip, wanted) : wanted);
      const auto count = co_await read_body(state, buffer);
      if (!count) co_return count.error();
      if (*count == 0) break;
      buffer.resize(*count);
      if (skip == 0) co_return buffer;
    }
    if (!state->alive) co_return MirrorError::canceled;
    if (asked_again) co_return MirrorError::unavailable;
    asked_again = true;
    const std::uint64_t end = offset + bytes_max;
    state->range = mirror::RangeSpec{mirror::RangeSpec::Kind::closed, offset, end - 1, 0};
    const auto opened = co_await open(state);
    if (!opened) co_return opened.error();
  }
}

asio::awaitable<Result<std::size_t>> UrlReader::read_body(
    // The awaiting coroutine owns it.
    // NOLINTNEXTLINE(cppcoreguidelines-avoid-reference-coroutine-parameters)
    std::shared_ptr<State> state, Bytes& buffer) {
  const auto count = co_await state->request->read_some(buffer);
  if (!count) co_return count;
  state->at += *count;
  state->metrics.add_bytes(ops::Protocol::overlaybd, ops::ByteSource::upstream, *count);
  co_return count;
}

}  // namespace waggle::node
