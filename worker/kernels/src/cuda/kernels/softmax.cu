// Softmax: of attention's scores, and of logits with the cross-entropy. Each block handles one row.
#include "elements.cuh"

// softmax(row · scale), in place.
extern "C" __global__ void softmax(float* rows, int columns, float scale) {
    __shared__ double sums[THREADS];
    __shared__ float greatest[THREADS];
    float* row = rows + (long long)blockIdx.x * columns;
    float most = -INFINITY;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) most = fmaxf(most, row[i]);
    most = block_max(most, greatest);
    double total = 0.0;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) total += expf((row[i] - most) * scale);
    total = block_sum(total, sums);
    for (int i = threadIdx.x; i < columns; i += blockDim.x) row[i] = (float)(expf((row[i] - most) * scale) / total);
}

// Turns the gradient of softmax's result into that of the row before scaling, in place.
extern "C" __global__ void softmax_gradient(const float* weights, float* gradients, int columns, float scale) {
    __shared__ double sums[THREADS];
    const float* weight = weights + (long long)blockIdx.x * columns;
    float* gradient = gradients + (long long)blockIdx.x * columns;
    double mean = 0.0;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) mean += (double)weight[i] * gradient[i];
    float centre = (float)block_sum(mean, sums);
    for (int i = threadIdx.x; i < columns; i += blockDim.x) gradient[i] = weight[i] * (gradient[i] - centre) * scale;
}

// A sample's target: one class, or a mixture with a second class and its share.
struct Target {
    unsigned first, second;
    float share;
    unsigned mixed;
};

__device__ __forceinline__ double share_of(const Target& target, double smoothing, int classes, int j) {
    double kept = 1.0 - smoothing, share = smoothing / classes;
    if (j == (int)target.first) share += kept * (1.0 - target.share);
    if (target.mixed && j == (int)target.second) share += kept * target.share;
    return share;
}

// Loss −Σ p_j ln softmax(z)_j of each row, whether the prediction is correct (the first of equally large logits is the
// prediction; NaN is never correct), and the gradient of loss / denominator. Exponentials in float64.
extern "C" __global__ void cross_entropy(const float* logits, const Target* targets, float* losses, unsigned* correct,
                                         float* gradient, int classes, double smoothing, double denominator) {
    __shared__ double sums[THREADS];
    __shared__ float greatest[THREADS];
    const float* row = logits + (long long)blockIdx.x * classes;
    const Target target = targets[blockIdx.x];
    float most = -INFINITY;
    for (int j = threadIdx.x; j < classes; j += blockDim.x) most = fmaxf(most, row[j]);
    most = block_max(most, greatest);
    double total = 0.0;
    for (int j = threadIdx.x; j < classes; j += blockDim.x) total += exp((double)row[j] - most);
    total = block_sum(total, sums);
    int heavier = target.mixed && target.share > 0.5f ? (int)target.second : (int)target.first;
    double logarithm = log(total), loss = 0.0, greater = 0.0;
    for (int j = threadIdx.x; j < classes; j += blockDim.x) {
        double share = share_of(target, smoothing, classes, j);
        if (share != 0.0) loss += share * (logarithm - ((double)row[j] - most));
        if (!(j < heavier ? row[j] < row[heavier] : row[j] <= row[heavier])) greater += 1.0;
        gradient[(long long)blockIdx.x * classes + j] =
            (float)((exp((double)row[j] - most) / total - share) / denominator);
    }
    loss = block_sum(loss, sums);
    greater = block_sum(greater, sums);
    if (threadIdx.x == 0) {
        losses[blockIdx.x] = (float)loss;
        correct[blockIdx.x] = greater == 0.0;
    }
}
