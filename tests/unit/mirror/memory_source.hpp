// A ContentSource in memory whose readers can be slow, stuck or broken on demand.
#pragma once

#include "mirror/content_source.hpp"
#include "mirror/error.hpp"

#include <algorithm>
#include <atomic>
#include <map>
#include <string>

namespace waggle::mirror::test {

/// Bytes of which no two neighbouring pages are alike.
inline std::string pattern(std::size_t size) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<char>((i * 31 + (i >> 8U) * 7) & 0xffU);
  return bytes;
}

struct MemoryBlob {
  std::string bytes;
  Source source = Source::peer;
  std::size_t available = std::string::npos;  ///< bytes that ever come; reads beyond never complete
  std::size_t read_bytes_max = std::string::npos;
  std::size_t fails_at = std::string::npos;  ///< reads from this offset on fail
  bool open_hangs = false;
  std::optional<MirrorError> open_error;
  MirrorError upstream_said{};  ///< what upstream_error() answers; 0: nothing
  int descriptor = -1;
  int growing_descriptor = -1;  ///< a file of the bytes, of which those above are to be had
};

/// Touched on the loop's thread only, but for the counters.
class MemorySource final : public ContentSource {
 public:
  [[nodiscard]] bool ready() const override { return is_ready; }
  [[nodiscard]] bool draining() const override { return is_draining; }
  [[nodiscard]] std::optional<BlobInfo> known(const Digest& digest) const override {
    const auto found = blobs.find(digest);
    if (found == blobs.end() || found->second.open_hangs) return std::nullopt;
    return BlobInfo{found->second.bytes.size(), found->second.source};
  }
  [[nodiscard]] std::unique_ptr<BlobReader> open(const BlobRequest& request,
                                                 const RangeSpec* range) override {
    last_request = request;
    last_range = range != nullptr ? range->to_string() : std::string();
    const auto found = blobs.find(request.digest);
    return std::make_unique<Reader>(*this, found == blobs.end() ? nullptr : &found->second);
  }
  [[nodiscard]] std::unique_ptr<BlobReader> open_url(const UrlSource& source,
                                                     const RangeSpec* range) override {
    last_url = source;
    last_range = range != nullptr ? range->to_string() : std::string();
    const auto found = urls.find(source.url);
    return std::make_unique<Reader>(*this, found == urls.end() ? nullptr : &found->second);
  }
  void async_resolve_tag(const TagRequest& request, Callback<ResolvedTag> done) override {
    const auto found = tags.find(request.registry + "/" + request.repository + ":" + request.tag);
    if (found == tags.end()) return done(MirrorError::not_found);
    done(found->second);
  }
  void async_forward(const ForwardRequest& request, Callback<ForwardResponse> done) override {
    last_forward = request.registry + request.path_and_query;
    done(forward);
  }

  bool is_ready = true;
  bool is_draining = false;
  std::map<Digest, MemoryBlob> blobs;
  std::map<std::string, MemoryBlob> urls;
  std::map<std::string, ResolvedTag> tags;
  Result<ForwardResponse> forward = MirrorError::unavailable;
  BlobRequest last_request;
  UrlSource last_url;
  std::string last_range;
  std::string last_forward;
  std::atomic<int> readers_alive = 0;
  std::atomic<int> readers_opened = 0;

 private:
  class Reader final : public BlobReader {
   public:
    Reader(MemorySource& owner, const MemoryBlob* blob) : owner_(owner), blob_(blob) {
      ++owner_.readers_alive;
      ++owner_.readers_opened;
    }
    ~Reader() override { --owner_.readers_alive; }
    void async_open(Callback<BlobInfo> done) override {
      if (blob_ == nullptr) return done(MirrorError::unavailable);
      if (blob_->open_error) return done(*blob_->open_error);
      if (!blob_->open_hangs) done(BlobInfo{blob_->bytes.size(), blob_->source});
    }
    void async_read(std::uint64_t offset, MutableByteView buffer,
                    Callback<std::size_t> done) override {
      const auto found = find(offset, buffer.size());
      if (!found) return done(found.error());
      const std::size_t size = *found;
      if (size == 0) return;
      std::copy_n(as_bytes(blob_->bytes).begin() + static_cast<std::ptrdiff_t>(offset), size,
                  buffer.begin());
      done(size);
    }
    [[nodiscard]] bool is_in_file() const override {
      return blob_ != nullptr && blob_->growing_descriptor >= 0;
    }
    void async_locate(std::uint64_t offset, std::uint64_t size_max,
                      Callback<FileSpan> done) override {
      const auto found = find(offset, size_max);
      if (!found) return done(found.error());
      if (*found > 0) done(FileSpan{blob_->growing_descriptor, *found});
    }
    [[nodiscard]] boost::system::error_code upstream_error() const override {
      if (blob_ == nullptr || blob_->upstream_said == MirrorError{}) return {};
      return blob_->upstream_said;
    }
    [[nodiscard]] std::optional<int> complete_file_descriptor() const override {
      if (blob_->descriptor < 0) return std::nullopt;
      return blob_->descriptor;
    }

   private:
    /// Bytes to be had from `offset` on; 0: none yet.
    [[nodiscard]] Result<std::size_t> find(std::uint64_t offset, std::uint64_t size_max) const {
      if (offset >= blob_->fails_at) return MirrorError::unavailable;
      const auto end = std::min({blob_->available, blob_->bytes.size(), blob_->fails_at});
      if (offset >= end) return std::size_t{0};
      return std::min({static_cast<std::size_t>(size_max), static_cast<std::size_t>(end - offset),
                       blob_->read_bytes_max});
    }
    MemorySource& owner_;
    const MemoryBlob* blob_;
  };
};

}  // namespace waggle::mirror::test
