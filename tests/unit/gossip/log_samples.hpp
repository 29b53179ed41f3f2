// Messages about logs, as tests write them.
#pragma once

#include "gossip/announcement_wire.hpp"
#include "gossip/anti_entropy.hpp"

#include <utility>
#include <vector>

namespace waggle::gossip::test {

inline Records one_log(const NodeId& origin, std::uint64_t incarnation, std::uint64_t first_seq,
                       std::vector<Record> records, std::uint32_t rows = 0) {
  return {rows, {{NodeRef{origin}, low_bits(incarnation), first_seq, std::move(records)}}};
}
inline AeStates some_state(const OriginState& state) {
  return {false, 0, 0, {to_wire(state, NodeRef{state.origin})}};
}
/// All that the sender knows.
inline AeStates only_state(const OriginState& state) {
  return {true, 0, UINT32_MAX, {to_wire(state, NodeRef{state.origin})}};
}
inline LogRange range(const NodeId& origin, std::uint64_t incarnation, std::uint64_t from_seq) {
  return {NodeRef{origin}, low_bits(incarnation), from_seq};
}

}  // namespace waggle::gossip::test
