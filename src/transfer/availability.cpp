// Plain counting; the asserts catch a peer that is forgotten twice.
#include "transfer/availability.hpp"

#include "base/assert.hpp"

namespace waggle::transfer {

void Availability::remove(ChunkIndex chunk) {
  WAGGLE_ASSERT(counts_[to_value(chunk)] > 0);
  --counts_[to_value(chunk)];
}

void Availability::add(const Bitfield& have) {
  for (auto i = have.find(true); i; i = have.find(true, *i + 1)) ++counts_[*i];
}

void Availability::remove(const Bitfield& have) {
  for (auto i = have.find(true); i; i = have.find(true, *i + 1)) {
    remove(ChunkIndex{static_cast<std::uint32_t>(*i)});
  }
}

void Availability::remove_complete() {
  WAGGLE_ASSERT(complete_ > 0);
  --complete_;
}

}  // namespace waggle::transfer
