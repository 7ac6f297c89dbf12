// Local aggregation on CPUs. `cpp.py` compiles and calls this file; `reference.py` is the formula.
//
// The work is cut into strips: some rows of one image, of all channels (shares) with the same weight channel.
// What a strip reads is copied to a workbench that fits into the second-level cache, to sheets that have a
// place for every result of stride 1, with zeros around: there a tap is a shift by a fixed number, and all loops
// run over whole vectors. With another stride, most places of results stay zero or are not computed.

#include <algorithm>
#include <type_traits>
#include <vector>

#include "rows.h"

namespace {

constexpr int BYTES = 32;           // of a vector
constexpr int64_t STRIP = 1 << 15;  // values of the maps of a strip
constexpr int TOGETHER = 8;         // shares whose sums are kept in registers: as many as CoTNet has

// What `cpp.py` passes, number by number. Pairs are (vertical, horizontal); strides count values.
struct Problem {
  int64_t threads, images, blocks, shares, shared, heads;
  int64_t size[2], out[2], kernel[2], stride[2], padding[2], dilation[2];
  int64_t x[4], weight[6], y[4];  // strides of the values, weights and results, or of their gradients
};

// The n in [0, size) with low <= n * step < high.
struct Range {
  int64_t first, end;

  Range(int64_t low, int64_t high, int64_t step, int64_t size)
      : first(std::min(up(low, step), size)), end(std::max(std::min(up(high, step), size), first)) {}
  int64_t count() const { return end - first; }
  static int64_t up(int64_t value, int64_t step) {
    return value <= 0 ? 0 : step == 1 ? value : (value + step - 1) / step;  // a division takes its time
  }
};

// Where a tap is in sheets: its weights, and the values they are for.
struct Tap {
  int64_t weights, values;
};

// The workbench of a thread, for strips of `height` rows (of results with stride 1, or of x).
template <typename A>
struct Bench {
  typedef A V __attribute__((vector_size(BYTES)));
  static constexpr int64_t lanes = BYTES / sizeof(A);

  explicit Bench(const Problem& problem)
      : p(problem), down((p.kernel[0] - 1) * p.dilation[0]), right((p.kernel[1] - 1) * p.dilation[1]) {
    width = ((p.out[1] - 1) * p.stride[1] + lanes) / lanes * lanes;
    places = (p.size[1] + p.padding[1] + lanes - 1) / lanes * lanes;
    line = std::max(width, places) + right;
    height = std::max<int64_t>(STRIP / (p.shares * line), 1);
    height = std::min(height, std::max(p.size[0], (p.out[0] - 1) * p.stride[0] + 1));
    plane = (height + down) * line;
    for (int64_t tap = 0; tap < p.kernel[0] * p.kernel[1]; ++tap) {
      const int64_t shift = tap / p.kernel[1] * p.dilation[0] * line + tap % p.kernel[1] * p.dilation[1];
      const int64_t back = down * line + right - shift;
      seen.push_back({tap * plane + right, shift});
      seeing.push_back({tap * plane + back, back});
    }
    maps.resize(p.shares * plane);
    results.resize(p.shares * plane);
    weights.resize(seen.size() * plane);
  }

  static V load(const A* from) {
    V values;
    std::memcpy(&values, from, BYTES);
    return values;
  }
  static void store(A* to, V values) { std::memcpy(to, &values, BYTES); }

  // Between a tensor and a sheet whose first row is `top` (of x, or of the places of results): to the sheet,
  // with zeros around, where the tensor is read, else from the sheet.
  template <typename X>
  void move_maps(Rows<X> tensor, bool read, int64_t top, int64_t count) {
    const Range rows(top, top + count, 1, p.size[0]);
    const Rows<A> sheet{maps.data() + (rows.first - top) * line + p.padding[1], plane, line, 1};
    if (read) std::fill(maps.begin(), maps.end(), A(0));
    move(tensor.at(0, rows.first, 0), sheet, read, p.shares, rows.count(), p.size[1]);
  }
  template <typename X>
  void move_results(Rows<X> tensor, bool read, int64_t top, int64_t count) {
    const Range rows(top, top + count, p.stride[0], p.out[0]);
    const Rows<A> sheet = places_of(results, top).at(0, rows.first, 0);
    if (read) std::fill(results.begin(), results.end(), A(0));
    move(tensor.at(0, rows.first, 0), sheet, read, p.shares, rows.count(), p.out[1]);
  }
  // Only the weights of taps inside the map: the others do not count, whatever they are.
  template <typename W>
  void move_weights(Rows<W> tensor, bool read, int64_t top, int64_t count) {
    if (read) std::fill(weights.begin(), weights.end(), A(0));
    for (int64_t tap = 0; tap < int64_t(seen.size()); ++tap) {
      const int64_t above = p.padding[0] - tap / p.kernel[1] * p.dilation[0];
      const int64_t left = p.padding[1] - tap % p.kernel[1] * p.dilation[1];
      const Range rows(std::max(top, above), std::min(top + count, p.size[0] + above), p.stride[0], p.out[0]);
      const Range columns(left, p.size[1] + left, p.stride[1], p.out[1]);
      const Rows<A> sheet = places_of(weights, top).at(tap, rows.first, columns.first);
      move(tensor.at(tap, rows.first, columns.first), sheet, read, 1, rows.count(), columns.count());
    }
  }
  Rows<A> places_of(std::vector<A>& sheet, int64_t top) const {
    return {sheet.data() + right - top * line, plane, p.stride[0] * line, p.stride[1]};
  }

  // Sums of weights * values over the taps into K planes, added to what is there where there is `more`.
  template <int K>
  void aggregate(const std::vector<Tap>& taps, const A* values, A* target, const Range& rows, int64_t step,
                 int64_t columns, bool more) const {
    for (int64_t row = rows.first; row < rows.end; row += step)
      for (int64_t at = row * line; at < row * line + columns; at += lanes) {
        V sums[K];
        for (int k = 0; k < K; ++k) sums[k] = more ? load(target + k * plane + at) : V{};
        for (const Tap& tap : taps) {
          const V weight = load(&weights[tap.weights] + at);
          for (int k = 0; k < K; ++k) sums[k] += weight * load(values + tap.values + k * plane + at);
        }
        for (int k = 0; k < K; ++k) store(target + k * plane + at, sums[k]);
      }
  }

  // Sums of slopes * values over K planes into the weights, added to what is there where there is `more`.
  template <int K>
  void correlate(const A* values, const A* slopes, const Range& rows, int64_t step, bool more) {
    for (int64_t row = rows.first; row < rows.end; row += step)
      for (int64_t at = row * line; at < row * line + width; at += lanes) {
        V factors[K];
        for (int k = 0; k < K; ++k) factors[k] = load(slopes + k * plane + at);
        for (const Tap& tap : seen) {
          V sum = more ? load(&weights[tap.weights] + at) : V{};
          for (int k = 0; k < K; ++k) sum += factors[k] * load(values + tap.values + k * plane + at);
          store(&weights[tap.weights] + at, sum);
        }
      }
  }

  const Problem& p;
  const int64_t down, right;                   // how far the window reaches
  int64_t width, places, line, height, plane;  // columns of results and of x in whole vectors; sizes of sheets
  std::vector<Tap> seen, seeing;               // by a result; by a value: it is the tap of these results
  std::vector<A> maps, results, weights;
};

// A thread's share of the work, a strip at a time.
template <typename X, typename W, typename A>
struct Task {
  const Problem& p;
  X *x, *y;
  W* weight;
  Bench<A> bench;
  int64_t image = 0, block = 0, channel = 0, top = 0, count = 0;

  Rows<X> maps_of(X* maps, const int64_t* stride, int64_t head) const {
    const int64_t first = (head * p.blocks + block) * p.shares * p.shared + channel;
    return {maps + image * stride[0] + first * stride[1], p.shared * stride[1], stride[2], stride[3]};
  }
  Rows<W> weights_of(int64_t head) const {
    W* of_channel = weight + image * p.weight[0] + (block * p.shared + channel) * p.weight[2];
    return {of_channel + head * p.weight[1], p.weight[3], p.weight[4], p.weight[5]};
  }
  template <typename Run>
  void by_shares(Run run) {
    int64_t share = 0;
    for (; share + TOGETHER <= p.shares; share += TOGETHER)
      run(share, share * bench.plane, std::integral_constant<int, TOGETHER>());
    for (; share < p.shares; ++share) run(share, share * bench.plane, std::integral_constant<int, 1>());
  }

  // Results, or (`results` is false) the gradient of the weights from that of the results.
  void by_result(bool results) {
    const Range rows((p.stride[0] - top % p.stride[0]) % p.stride[0], count, 1, count);
    bench.move_maps(maps_of(x, p.x, 0), true, top - p.padding[0], count + bench.down);
    for (int64_t head = 0; head < p.heads; ++head) {
      if (results)
        bench.move_weights(weights_of(head), true, top, count);
      else
        bench.move_results(maps_of(y, p.y, head), true, top, count);
      by_shares([&](int64_t share, int64_t at, auto k) {
        const A* values = bench.maps.data() + at;
        A* target = bench.results.data() + bench.right + at;
        if (results)
          bench.template aggregate<k>(bench.seen, values, target, rows, p.stride[0], bench.width, false);
        else
          bench.template correlate<k>(values, target, rows, p.stride[0], share > 0);
      });
      if (results)
        bench.move_results(maps_of(y, p.y, head), false, top, count);
      else
        bench.move_weights(weights_of(head), false, top, count);
    }
  }
  // The gradient of the values: each sums over the results that see it.
  void by_value() {
    const Range rows(0, count, 1, count);
    const int64_t first = top + p.padding[0] - bench.down, seeing = count + bench.down;
    for (int64_t head = 0; head < p.heads; ++head) {
      bench.move_weights(weights_of(head), true, first, seeing);
      bench.move_results(maps_of(y, p.y, head), true, first, seeing);
      by_shares([&](int64_t, int64_t at, auto k) {
        const A* slopes = bench.results.data() + at;
        bench.template aggregate<k>(bench.seeing, slopes, bench.maps.data() + at, rows, 1, bench.places, head > 0);
      });
    }
    bench.move_maps(maps_of(x, p.x, 0), false, top, count);
  }
};

template <typename X, typename W, typename A>
void run(int wanted, const Problem& p, void* x, void* weight, void* y) {
  const int64_t rows = wanted == 1 ? p.size[0] : (p.out[0] - 1) * p.stride[0] + 1;
  const int64_t strip = Bench<A>(p).height, strips = (rows + strip - 1) / strip;
  const int64_t tasks = p.images * p.blocks * strips * p.shared;
#pragma omp parallel num_threads(int(std::min(p.threads, tasks))) if (p.threads > 1 && tasks > 1)
  {
    Task<X, W, A> task{p, static_cast<X*>(x), static_cast<X*>(y), static_cast<W*>(weight), Bench<A>(p)};
#pragma omp for
    for (int64_t each = 0; each < tasks; ++each) {
      task.channel = each % p.shared;
      task.top = each / p.shared % strips * strip;
      task.count = std::min(strip, rows - task.top);
      task.block = each / p.shared / strips % p.blocks;
      task.image = each / p.shared / strips / p.blocks;
      wanted == 1 ? task.by_value() : task.by_result(wanted == 0);
    }
  }
}

}  // namespace

// Writes the wanted one of (y, x, weight), 0 to 2, from the two others; of the gradient of the weights only what
// can differ from zero. `types`: see `cpp.py`.
extern "C" void local_aggregation(int wanted, int types, const Problem* p, void* x, void* weight, void* y) {
  if (types == 0) run<float, float, float>(wanted, *p, x, weight, y);
  if (types == 1) run<double, double, double>(wanted, *p, x, weight, y);
  if (types == 2) run<bfloat16, bfloat16, float>(wanted, *p, x, weight, y);
  if (types == 3) run<bfloat16, float, float>(wanted, *p, x, weight, y);
}
