// Names of the cache errors, as they appear in logs.
#include "cache/error.hpp"

namespace waggle::cache {
namespace {

class CacheCategory final : public boost::system::error_category {
 public:
  const char* name() const noexcept override { return "waggle.cache"; }
  std::string message(int value) const override {
    switch (static_cast<CacheError>(value)) {
      case CacheError::disk_full: return "the disk or its quota is full";
      case CacheError::io: return "the file system reported an I/O error";
      case CacheError::denied: return "permission denied or read-only file system";
      case CacheError::not_found: return "not in the cache";
      case CacheError::corrupt: return "stored bytes do not match their checksum";
      case CacheError::not_held: return "the chunk is not held";
      case CacheError::incomplete: return "not every chunk is held";
      case CacheError::busy: return "in use elsewhere";
      case CacheError::already_stored: return "the complete blob is already stored";
      case CacheError::closed: return "the partial blob is closed";
      case CacheError::locked: return "another daemon uses this data directory";
      case CacheError::limit_exceeded: return "a cache limit is reached";
      case CacheError::invalid: return "invalid argument";
    }
    return "unknown error";
  }
};

}  // namespace

const boost::system::error_category& cache_category() noexcept {
  static const CacheCategory category;
  return category;
}

}  // namespace waggle::cache
