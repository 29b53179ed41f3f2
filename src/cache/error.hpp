// What the cache can say when it cannot do what it was asked.
#pragma once

#include "base/error.hpp"

namespace waggle::cache {

enum class CacheError {
  disk_full = 1,   ///< ENOSPC or EDQUOT: make room or stream without storing
  io,              ///< the device or the file system failed: treat the copy as lost
  denied,          ///< no permission, or a read-only file system: an operator's matter
  not_found,       ///< no such blob, partial or sidecar
  corrupt,         ///< stored bytes do not match their checksum: the piece was dropped, fetch it again
  not_held,        ///< the chunk is not (or no longer) in this partial
  incomplete,      ///< commit before every chunk is held
  busy,            ///< the partial is open, or the chunk is being written, elsewhere: the caller loses nothing
  already_stored,  ///< the complete blob is there: open it instead
  closed,          ///< the partial was committed, abandoned or damaged: begin again
  locked,          ///< another daemon uses this data directory
  limit_exceeded,  ///< a named limit of base/limits.hpp would be passed
  invalid,         ///< arguments that fit no blob: an index or size out of range
};

[[nodiscard]] const boost::system::error_category& cache_category() noexcept;

inline boost::system::error_code make_error_code(CacheError error) noexcept {
  return {static_cast<int>(error), cache_category()};
}

}  // namespace waggle::cache

template <>
struct boost::system::is_error_code_enum<waggle::cache::CacheError> : std::true_type {};
