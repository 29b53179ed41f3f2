// Result<T>: how bytes and requests from outside fail. Each folder has its own error enum beside
// this one.
#pragma once

#include <boost/system/error_code.hpp>
#include <boost/system/result.hpp>

#include <string>
#include <type_traits>

namespace waggle {

template <typename T>
using Result = boost::system::result<T, boost::system::error_code>;

/// What a decoder in `base` (and every msgpack reader) can say about its input.
enum class BaseError {
  truncated = 1,   ///< the input ends before the value does; drop it
  malformed,       ///< not the expected form; drop it, authenticated senders are scored
  limit_exceeded,  ///< a named limit of base/limits.hpp would be passed; drop it
  unsupported,     ///< valid, but nothing this version can use (an unknown digest algorithm, say)
};

[[nodiscard]] const boost::system::error_category& base_category() noexcept;

inline boost::system::error_code make_error_code(BaseError error) noexcept {
  return {static_cast<int>(error), base_category()};
}

}  // namespace waggle

template <>
struct boost::system::is_error_code_enum<waggle::BaseError> : std::true_type {};
