// Arguments and accessed memory of every kernel; `declare.rs` describes the notation. A test reads this file, too.

kernels! {
    flat_buffer {
        /// Copies tensors into a flat buffer, multiplied by a factor; missing tensors become 0.
        ///
        /// # Safety
        /// The pieces lie within the tensors at the given addresses (0 stands for a missing tensor), and within the
        /// buffer.
        unsafe fn gather(
            pieces: In<Piece> [blocks], tensors: In<u64> [], flat_buffer: InOut<f32> [], factor: Float, blocks: Extent
        ) on Grid::rows(blocks, PIECE);

        /// Copies a flat buffer into tensors.
        ///
        /// # Safety
        /// The pieces lie within the tensors at the given addresses, and within the buffer.
        unsafe fn scatter(
            pieces: In<Piece> [blocks], tensors: In<u64> [], flat_buffer: In<f32> [], blocks: Extent
        ) on Grid::rows(blocks, PIECE);

        /// into += from: a segment of the reduction tree, left + right.
        safe fn add(into: InOut<f32> [len], from: In<f32> [len], len: Long) on Grid::over(len);

        /// Rounds to bfloat16, in place.
        safe fn round_to_bf16(values: InOut<f32> [len], len: Long) on Grid::over(len);
    }

    batch_norm {
        /// Sums and sums of squares of each chunk of rows, `[chunks, 2, channels]`.
        safe fn batch_sums<N>(
            x: In<N> [rows, channels], partials: Out<f64> [chunks(rows, rows_per_chunk)?, 2, channels],
            rows: Long, channels: Int, rows_per_chunk: Int
        ) on Grid::chunks(channels, rows, rows_per_chunk);

        /// relu((x − mean) · scale + bias + residual).
        safe fn batch_apply<N>(
            x: In<N> [rows, channels], residual: MaybeIn<N> [rows, channels], y: Out<N> [rows, channels],
            mean: In<f32> [channels], scale: In<f32> [channels], bias: In<f32> [channels],
            rows: Long, channels: Int, rows_per_chunk: Int, relu: Flag
        ) on Grid::chunks(channels, rows, rows_per_chunk);

        /// Sums of the gradient that passes the ReLU, and of its product with x̂: `[chunks, 2, channels]`.
        safe fn batch_gradient_sums<N>(
            x: In<N> [rows, channels], result: In<N> [rows, channels], gradient: In<N> [rows, channels],
            mean: In<f32> [channels], inverse: In<f32> [channels],
            partials: Out<f64> [chunks(rows, rows_per_chunk)?, 2, channels],
            rows: Long, channels: Int, rows_per_chunk: Int, relu: Flag
        ) on Grid::chunks(channels, rows, rows_per_chunk);

        /// The input's gradient and, if it is wanted, the residual's.
        safe fn batch_gradient<N>(
            x: In<N> [rows, channels], result: In<N> [rows, channels], gradient: In<N> [rows, channels],
            mean: In<f32> [channels], inverse: In<f32> [channels], weight: In<f32> [channels],
            sums: In<f32> [2, channels], of_x: Out<N> [rows, channels], of_residual: MaybeOut<N> [rows, channels],
            rows: Long, channels: Int, rows_per_chunk: Int, relu: Flag
        ) on Grid::chunks(channels, rows, rows_per_chunk);

        /// From the sums of all chunks: mean, unbiased variance, 1 / √(variance + eps), weight / √(variance + eps).
        safe fn batch_moments(
            partials: In<f64> [chunks, 2, channels], weight: In<f32> [channels], mean: Out<f32> [channels],
            variance: Out<f32> [channels], inverse: Out<f32> [channels], scale: Out<f32> [channels],
            chunks: Int, rows: Long, channels: Int, eps: Double
        ) on Grid::columns(channels);

        /// weight / √(running variance + eps).
        safe fn running_scale(
            weight: In<f32> [channels], variance: In<f32> [channels], scale: Out<f32> [channels],
            channels: Int, eps: Double
        ) on Grid::over(channels);
    }

    elementwise {
        /// max(x, 0).
        safe fn relu<N>(x: In<N> [len], y: Out<N> [len], len: Long) on Grid::over(len);

        /// The gradient where the result is above 0, otherwise 0.
        safe fn relu_gradient<N>(
            result: In<N> [len], gradient: In<N> [len], of_x: Out<N> [len], len: Long
        ) on Grid::over(len);

        /// A smooth activation; `kind` is `Smooth` of `elementwise.cu`.
        safe fn smooth<N>(x: In<N> [len], y: Out<N> [len], len: Long, kind: Code) on Grid::over(len);

        /// The gradient of a smooth activation's input.
        safe fn smooth_gradient<N>(
            x: In<N> [len], gradient: In<N> [len], of_x: Out<N> [len], len: Long, kind: Code
        ) on Grid::over(len);

        /// x + y.
        safe fn sum<N>(x: In<N> [len], y: In<N> [len], sum: Out<N> [len], len: Long) on Grid::over(len);

        /// x + bias for x `[rows, channels]`.
        safe fn add_bias<N>(
            x: In<N> [rows, channels], bias: In<f32> [channels], y: Out<N> [rows, channels],
            rows: Long, channels: Int, rows_per_chunk: Int
        ) on Grid::chunks(channels, rows, rows_per_chunk);

        /// x += bias.
        safe fn add_bias_in_place<N>(
            x: InOut<N> [rows, channels], bias: In<f32> [channels], rows: Long, channels: Int, rows_per_chunk: Int
        ) on Grid::chunks(channels, rows, rows_per_chunk);

        /// Converts a weight `[out, in, taps]` to the convolution's layout `[out, taps, in]`.
        safe fn taps_first<N>(
            weight: In<f32> [len], turned: Out<N> [len], len: Long, inputs: Int, taps: Int
        ) on Grid::over(len), if len.is_multiple_of(elements(&[inputs, taps])?);

        /// Converts a weight `[out, taps, in]` to the model's layout `[out, in, taps]`.
        safe fn taps_last<N>(
            turned: In<N> [len], weight: Out<f32> [len], len: Long, inputs: Int, taps: Int
        ) on Grid::over(len), if len.is_multiple_of(elements(&[inputs, taps])?);

        /// Column sums of x `[rows, columns]` over chunks of rows, `[chunks, 2, columns]`; the second half is 0.
        safe fn column_partials<N>(
            x: In<N> [rows, columns], partials: Out<f64> [chunks(rows, rows_per_chunk)?, 2, columns],
            rows: Long, columns: Int, rows_per_chunk: Int
        ) on Grid::chunks(columns, rows, rows_per_chunk);

        /// Rounds to bfloat16.
        safe fn to_bf16(x: In<f32> [len], y: Out<bf16> [len], len: Long) on Grid::over(len);

        /// Converts to f32, without rounding.
        safe fn to_f32(x: In<bf16> [len], y: Out<f32> [len], len: Long) on Grid::over(len);

        /// Adds the chunks of partial sums `[chunks, 2, columns]`; the first `len` of 2 · `columns` sums are wanted.
        safe fn column_totals(
            partials: In<f64> [chunks, 2, columns], totals: Out<f32> [len], chunks: Int, columns: Int, len: Long
        ) on Grid::columns(len), if len <= 2 * columns;
    }

    group_norm {
        /// The result, and mean and 1 / √(variance + eps) of each set; x is `[samples, pixels, channels]`.
        safe fn group_norm<N>(
            x: In<N> [samples, pixels, channels], weight: In<f32> [channels], bias: In<f32> [channels],
            y: Out<N> [samples, pixels, channels], mean: Out<f32> [samples, groups], inverse: Out<f32> [samples, groups],
            pixels: Int, channels: Int, groups: Int, eps: Double, samples: Extent
        ) on set_blocks(samples, [pixels, channels, groups]), if divides(groups, channels);

        /// The input's gradient.
        safe fn group_norm_gradient<N>(
            x: In<N> [samples, pixels, channels], gradient: In<N> [samples, pixels, channels],
            weight: In<f32> [channels], mean: In<f32> [samples, groups], inverse: In<f32> [samples, groups],
            of_x: Out<N> [samples, pixels, channels], pixels: Int, channels: Int, groups: Int, samples: Extent
        ) on set_blocks(samples, [pixels, channels, groups]), if divides(groups, channels);

        /// Sums over chunks of rows (samples and pixels) of gradient · x̂ and gradient: `[chunks, 2, channels]`.
        safe fn group_norm_affine<N>(
            x: In<N> [rows, channels], gradient: In<N> [rows, channels],
            mean: In<f32> [rows.div_ceil(pixels.max(1)), groups], inverse: In<f32> [rows.div_ceil(pixels.max(1)), groups],
            partials: Out<f64> [chunks(rows, rows_per_chunk)?, 2, channels],
            rows: Long, channels: Int, rows_per_chunk: Int, pixels: Int, groups: Int
        ) on Grid::chunks(channels, rows, rows_per_chunk), if divides(groups, channels) && pixels > 0;
    }

    pool {
        /// Maxima or means of windows of images.
        safe fn pool<N>(
            x: In<N> [images, w.input()?], y: Out<N> [images, w.output()?],
            len: Long, w: Windows, images: Extent
        ) on Grid::over(len), if len == elements(&[images, w.output()?])?;

        /// The gradient of each input pixel.
        safe fn pool_gradient<N>(
            x: In<N> [images, w.input()?], result: In<N> [images, w.output()?],
            gradient: In<N> [images, w.output()?], of_x: Out<N> [images, w.input()?],
            len: Long, w: Windows, images: Extent
        ) on Grid::over(len), if len == elements(&[images, w.input()?])?;
    }

    softmax {
        /// softmax(row · scale), in place.
        safe fn softmax(rows: InOut<f32> [count, columns], columns: Int, scale: Float, count: Extent)
            on Grid::rows(count, columns);

        /// Turns the gradient of softmax's result into that of the row before scaling, in place.
        safe fn softmax_gradient(
            weights: In<f32> [count, columns], gradients: InOut<f32> [count, columns], columns: Int, scale: Float,
            count: Extent
        ) on Grid::rows(count, columns);

        /// Loss of each row, whether the prediction is correct, and the gradient of loss / denominator.
        ///
        /// # Safety
        /// The targets' classes are below `classes`.
        unsafe fn cross_entropy(
            logits: In<f32> [rows, classes], targets: In<DeviceTarget> [rows], losses: Out<f32> [rows],
            correct: Out<u32> [rows], gradient: Out<f32> [rows, classes], classes: Int, smoothing: Double,
            denominator: Double, rows: Extent
        ) on Grid::rows(rows, classes);
    }
}
