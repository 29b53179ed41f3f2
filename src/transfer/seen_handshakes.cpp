// A set and the order of arrival beside it.
#include "transfer/seen_handshakes.hpp"

namespace waggle::transfer {

bool SeenHandshakes::accept(const Ephemeral& ephemeral) {
  if (!known_.insert(ephemeral).second) return false;
  order_.push_back(ephemeral);
  if (order_.size() > limits::seen_handshakes_max) {
    known_.erase(order_.front());
    order_.pop_front();
  }
  return true;
}

}  // namespace waggle::transfer
