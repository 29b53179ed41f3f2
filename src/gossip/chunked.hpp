// A growing array whose elements never move: chunks of a fixed size. Part of the content index.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace waggle::gossip {

/// Grows by whole chunks, so that growing neither copies nor leaves a freed array behind, and the
/// room beyond the last element is at most one chunk.
template <typename T, std::size_t per_chunk>
class Chunked {
 public:
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] T& operator[](std::size_t i) { return chunks_[i / per_chunk][i % per_chunk]; }
  [[nodiscard]] const T& operator[](std::size_t i) const {
    return chunks_[i / per_chunk][i % per_chunk];
  }
  void push_back() {
    if (size_ == chunks_.size() * per_chunk) chunks_.push_back(std::make_unique<T[]>(per_chunk));
    ++size_;
  }
  [[nodiscard]] std::size_t memory_bytes() const {
    return chunks_.size() * per_chunk * sizeof(T) + chunks_.capacity() * sizeof(chunks_.front());
  }

 private:
  std::vector<std::unique_ptr<T[]>> chunks_;
  std::size_t size_ = 0;
};

}  // namespace waggle::gossip
