// Range and Content-Range headers.
#include "mirror/range.hpp"
#include "target.hpp"

namespace waggle::fuzz {
namespace {

using namespace waggle::mirror;

void check_range(std::string_view header, std::uint64_t size) {
  const auto spec = parse_range(header);
  if (!spec) return;
  const auto again = parse_range(spec->to_string());
  expect(again && *again == *spec, "a Range that is written is read as it was");
  const auto range = resolve_range(*spec, size);
  if (!range) return;
  expect(range->first <= range->last && range->last < size, "a range lies inside the blob");
  const auto answer = parse_content_range(content_range_text(*range, size));
  expect(answer && answer->range == range && answer->total == size,
         "the Content-Range of an answer is read as it was");
}

/// A size, then the header's value, read as either of the two.
void run(ByteView bytes) {
  Input input(bytes);
  const auto size = input.integer<std::uint64_t>();
  const std::string_view header = as_text(input.rest());
  check_range(header, size);
  const auto content = parse_content_range(header);
  if (!content) return;
  expect(content->range || content->total, "a Content-Range says something");
  if (content->range) {
    expect(content->range->first <= content->range->last &&
               (!content->total || content->range->last < *content->total),
           "a Content-Range lies inside its total");
  }
}

std::vector<Bytes> seeds() {
  std::vector<Bytes> out;
  for (const char* text : {"bytes=0-99", "bytes=5-", "bytes=-7", "bytes=0-1,5-6", "bytes= 1-2 ,",
                           "bytes 0-99/1000", "bytes */1000", "bytes 0-99/*",
                           "bytes=18446744073709551615-18446744073709551616", "lines=1-2"}) {
    Bytes seed;
    append_le(seed, std::uint64_t{1000});
    append(seed, as_bytes(text));
    out.push_back(seed);
  }
  return out;
}

const Target target("range", &run, &seeds);

}  // namespace
}  // namespace waggle::fuzz
