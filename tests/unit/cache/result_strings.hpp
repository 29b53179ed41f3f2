// How doctest prints a Result: "ok" or the error's message.
#pragma once

#include "base/error.hpp"

#include <doctest/doctest.h>

template <typename T, typename E>
struct doctest::StringMaker<boost::system::result<T, E>> {
  static doctest::String convert(const boost::system::result<T, E>& result) {
    return result ? "ok" : result.error().message().c_str();
  }
};
