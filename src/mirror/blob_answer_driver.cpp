// Sending a blob, or a range of it, and counting what was sent.
#include "mirror/blob_answer_driver.hpp"

#include "base/limits.hpp"

#include <algorithm>

namespace waggle::mirror {
namespace asio = boost::asio;

// The handler that awaits these owns what they refer to.
// NOLINTBEGIN(cppcoreguidelines-avoid-reference-coroutine-parameters)
asio::awaitable<void> BlobAnswer::send_blob(BlobReader& reader, std::uint64_t size,
                                            const std::optional<ByteRange>& range, Bytes& buffer) {
  if (const auto descriptor = reader.complete_file_descriptor()) {
    return send_file(reader, *descriptor, size, range);
  }
  return send_stream(reader, size, range, buffer);
}

asio::awaitable<void> BlobAnswer::send_file(BlobReader& reader, int descriptor, std::uint64_t size,
                                            const std::optional<ByteRange>& range) {
  note_first_byte();
  begin(size, range);
  const auto body = range.value_or(ByteRange{0, size - 1});
  const auto sent = co_await exchange_.write_file(descriptor, body.first, body.size());
  if (!sent) co_return cut();
  served_.body_bytes = body.size();
  reader.file_bytes_sent(body.size());
}

asio::awaitable<void> BlobAnswer::send_stream(BlobReader& reader, std::uint64_t size,
                                              const std::optional<ByteRange>& range,
                                              Bytes& buffer) {
  const auto body = range.value_or(ByteRange{0, size - 1});
  if (!reader.is_in_file()) {
    buffer.resize(std::min<std::uint64_t>(body.size(), limits::http_write_bytes));
  }
  for (auto offset = body.first; offset <= body.last;) {
    const auto sent = co_await send_piece(reader, size, range, offset, buffer);
    if (sent == 0) co_return;
    offset += sent;
  }
}

asio::awaitable<std::uint64_t> BlobAnswer::send_piece(BlobReader& reader, std::uint64_t size,
                                                      const std::optional<ByteRange>& range,
                                                      std::uint64_t offset,
                                                      MutableByteView buffer) {
  const auto rest = range.value_or(ByteRange{0, size - 1}).last - offset + 1;
  const auto asked = std::chrono::steady_clock::now();
  const auto deadline = exchange_.begun() ? asked + first_byte_ : first_byte_deadline();
  const bool in_file = reader.is_in_file();
  Result<FileSpan> found = FileSpan{};
  if (in_file) {
    found = co_await call<FileSpan>(deadline, [&](auto done) {
      reader.async_locate(offset, std::min(rest, limits::http_span_bytes), std::move(done));
    });
  } else {
    buffer = buffer.first(std::min<std::uint64_t>(rest, buffer.size()));
    const auto read = co_await call<std::size_t>(
        deadline, [&](auto done) { reader.async_read(offset, buffer, std::move(done)); });
    found = read ? Result<FileSpan>(FileSpan{-1, *read}) : read.error();
  }
  if (!found) {
    if (!exchange_.begun()) {
      co_await fail(found.error());
    } else {
      cut();
    }
    co_return 0;
  }
  if (exchange_.begun()) {
    served_.longest_gap =
        std::max<Duration>(served_.longest_gap, std::chrono::steady_clock::now() - asked);
  } else {
    note_first_byte();
    begin(size, range);
  }
  const bool sent = in_file ? co_await send_span(*found, offset)
                            : co_await send(ByteView(buffer).first(found->size));
  co_return sent ? found->size : 0;
}

asio::awaitable<bool> BlobAnswer::send_span(FileSpan span, std::uint64_t offset) {
  const auto sent = co_await exchange_.write_file(span.descriptor, offset, span.size);
  if (sent && !exchange_.request().is_head()) served_.body_bytes += span.size;
  if (!sent) cut();
  co_return sent.has_value();
}
// NOLINTEND(cppcoreguidelines-avoid-reference-coroutine-parameters)

void BlobAnswer::begin(std::uint64_t size, const std::optional<ByteRange>& range) {
  served_.status = range ? 206 : 200;
  HttpResponseHead head;
  head.status = served_.status;
  head.headers = content_headers();
  head.headers.emplace_back("Accept-Ranges", "bytes");
  if (range) head.headers.emplace_back("Content-Range", content_range_text(*range, size));
  head.content_length = range ? range->size() : size;
  exchange_.begin(std::move(head));
}

asio::awaitable<bool> BlobAnswer::send(ByteView bytes) {
  const auto sent = co_await exchange_.write(bytes);
  if (sent && !exchange_.request().is_head()) served_.body_bytes += bytes.size();
  if (!sent) cut();
  co_return sent.has_value();
}

asio::awaitable<void> BlobAnswer::respond(unsigned status, HeaderList headers, std::string body) {
  served_.status = status;
  HttpResponseHead head;
  head.status = status;
  head.headers = std::move(headers);
  if (!exchange_.request().is_head()) served_.body_bytes = body.size();
  const auto sent = co_await exchange_.respond(std::move(head), std::move(body));
  if (!sent) cut();
}

void BlobAnswer::cut() {
  served_.cut = true;
  exchange_.cut();
}

void BlobAnswer::report(std::string_view target, const ServedCallback& callback) {
  exchange_.on_client_gone(nullptr);
  if (!callback) return;
  const auto& request = exchange_.request();
  served_.method = request.method;
  served_.target = target;
  served_.request_id = request.request_id;
  served_.duration = std::chrono::steady_clock::now() - start_;
  callback(served_);
}

}  // namespace waggle::mirror
