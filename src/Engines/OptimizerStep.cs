using System.Runtime.ExceptionServices;
using Microsoft.ML.OnnxRuntime;
using SorsaOrt.Artifacts;

namespace SorsaOrt.Engines;

/// <summary>One optimizer step over the flat state: norm, clip, regulariser, AdamW, each an ONNX graph run over slices.</summary>
/// <remarks>
/// Slices are short enough that what the graphs compute between input and output stays in a processor's cache. Every slice has its
/// values bound once. On the CPU each run keeps to the thread that started it and several run at a time: a slice is too little work to
/// share, and sessions with threads of their own leave these spinning while the next micro-batch runs. A parameter that is regularised leaves that graph with its gradient clipped already, so AdamW scales only the others'.
/// </remarks>
internal sealed class OptimizerStep : IDisposable
{
    private const int SliceElements = 1 << 18;

    /// <summary>τ of the guard at the orthonormal point: below τ·r the regulariser's gradient is rounding noise and taken as 0.</summary>
    private const double GuardPerRank = 1e-6;

    private enum Scalar { One, Clip, Decay, Beta1, OneMinusBeta1, Beta2, OneMinusBeta2, StepSize, Bias2, Epsilon, Strength, Count }

    private readonly TrainingState _state;
    private readonly ParallelOptions _parallel;
    private readonly List<IDisposable> _owned = [];
    private readonly List<BoundRun> _norms = [];
    private readonly List<BoundRun> _regularizers = [];
    private readonly List<BoundRun> _updates = [];
    private readonly FlatBuffer<float> _scalars;
    private readonly FlatBuffer<float> _tolerances;
    private readonly FlatBuffer<float> _deviations;
    private readonly FlatBuffer<float> _squares;

    /// <summary>Loads the graphs and binds every slice.</summary>
    public OptimizerStep(ArtifactSet artifacts, TrainingState state, EngineOptions options)
    {
        _state = state;
        var isOnCpu = options.Device.Kind == DeviceKind.Cpu;
        _parallel = new ParallelOptions { MaxDegreeOfParallelism = !isOnCpu ? 1 : options.Threads > 0 ? options.Threads : Environment.ProcessorCount };
        if (isOnCpu)
            options = options with { Threads = 1 };
        var regularized = state.Parameters.Where(p => p.Orthonormal != Orthonormality.None).ToArray();
        var slices = Slices(state.Parameters).ToArray();
        _scalars = Own(new FlatBuffer<float>((int)Scalar.Count));
        _tolerances = Own(new FlatBuffer<float>(regularized.Length));
        _deviations = Own(new FlatBuffer<float>(regularized.Length));
        _squares = Own(new FlatBuffer<float>(slices.Length));
        try
        {
            BindNorms(Own(new OrtSession(artifacts.PathOf(ArtifactFiles.NormModel), options)), slices);
            BindRegularizers(artifacts, regularized, options);
            BindUpdates(Own(new OrtSession(artifacts.PathOf(artifacts.Has(ArtifactFiles.FlatOptimizerModel) ? ArtifactFiles.FlatOptimizerModel : ArtifactFiles.OptimizerModel), options)), slices);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>N of the regulariser's mean.</summary>
    private int MatrixCount => _regularizers.Count;

    /// <summary>One step with rate <paramref name="learningRate"/>. The gradients hold clip(task) + regulariser afterwards; the caller clears them.</summary>
    public UpdateResult Run(AdamWOptions options, double learningRate)
    {
        var norm = GradientNorm() / options.LossScale;
        if (!double.IsFinite(norm))
            return new UpdateResult(norm, 0);
        var clip = (options.MaxGradNorm > 0 ? Math.Min(1, options.MaxGradNorm / (norm + 1e-6)) : 1) / options.LossScale;
        var step = _state.Step + 1;
        Set(Scalar.One, 1);
        Set(Scalar.Clip, clip);
        Set(Scalar.Strength, MatrixCount == 0 ? 0 : options.RegularizerStrength / MatrixCount);
        Set(Scalar.Decay, learningRate * options.WeightDecay);
        Set(Scalar.Beta1, options.Beta1);
        Set(Scalar.OneMinusBeta1, 1 - options.Beta1);
        Set(Scalar.Beta2, options.Beta2);
        Set(Scalar.OneMinusBeta2, 1 - options.Beta2);
        Set(Scalar.StepSize, learningRate / (1 - Math.Pow(options.Beta1, step)));
        Set(Scalar.Bias2, Math.Sqrt(1 - Math.Pow(options.Beta2, step)));
        Set(Scalar.Epsilon, options.Epsilon);
        var result = new UpdateResult(norm, Regularize());
        if (!result.IsFinite)
            return result;
        RunEach(_updates);
        _state.Step = step;
        return result;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        // Runs before the sessions and buffers that they use.
        for (var i = _owned.Count - 1; i >= 0; i--)
            _owned[i].Dispose();
        _owned.Clear();
    }

    private double GradientNorm()
    {
        RunEach(_norms);
        var sum = 0.0;
        for (var i = 0; i < _norms.Count; i++)
            sum += _squares[i];
        return Math.Sqrt(sum);
    }

    private double Regularize()
    {
        RunEach(_regularizers);
        var sum = 0.0;
        for (var i = 0; i < _regularizers.Count; i++)
            sum += _deviations[i];
        return MatrixCount == 0 ? 0 : sum / MatrixCount;
    }

    // The runs touch different slices, so their order does not matter.
    private void RunEach(List<BoundRun> runs)
    {
        if (_parallel.MaxDegreeOfParallelism == 1)
        {
            foreach (var run in runs)
                run.Run();
            return;
        }
        try
        {
            Parallel.For(0, runs.Count, _parallel, i => runs[i].Run());
        }
        catch (AggregateException e)
        {
            ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
        }
    }

    private void BindNorms(OrtSession session, IReadOnlyList<Slice> slices)
    {
        for (var i = 0; i < slices.Count; i++)
        {
            _norms.Add(Own(new BoundRun(session))
                .Input("x", _state.Gradients.View(slices[i].Offset, slices[i].Count))
                .Output("sum_of_squares", _squares.View(i)));
        }
    }

    private void BindRegularizers(ArtifactSet artifacts, IReadOnlyList<TrainedParameter> matrices, EngineOptions options)
    {
        if (matrices.Count == 0)
            return;
        var rows = Own(new OrtSession(artifacts.PathOf(ArtifactFiles.RegularizerOfRowsModel), options));
        var columns = Own(new OrtSession(artifacts.PathOf(ArtifactFiles.RegularizerOfColumnsModel), options));
        for (var i = 0; i < matrices.Count; i++)
        {
            var matrix = matrices[i];
            var ofRows = matrix.Orthonormal == Orthonormality.Rows;
            _tolerances[i] = (float)(GuardPerRank * matrix.Shape[ofRows ? 0 : 1]);
            _regularizers.Add(Own(new BoundRun(ofRows ? rows : columns))
                .Input("matrix", _state.Values.View(matrix.Offset, [.. matrix.Shape]))
                .Input("gradient", _state.Gradients.View(matrix.Offset, [.. matrix.Shape]))
                .Input("gradient_scale", View(Scalar.Clip))
                .Input("strength", View(Scalar.Strength))
                .Input("tolerance", _tolerances.View(i))
                .Output("norm", _deviations.View(i))
                .Output("gradient_out", _state.Gradients.View(matrix.Offset, [.. matrix.Shape])));
        }
    }

    private void BindUpdates(OrtSession session, IReadOnlyList<Slice> slices)
    {
        foreach (var slice in slices)
        {
            OrtValue Of(FlatBuffer<float> buffer) => buffer.View(slice.Offset, slice.Count);
            _updates.Add(Own(new BoundRun(session))
                .Input("parameter", Of(_state.Values))
                .Input("gradient", Of(_state.Gradients))
                .Input("first_moment", Of(_state.FirstMoments))
                .Input("second_moment", Of(_state.SecondMoments))
                .Input("gradient_scale", View(slice.IsRegularized ? Scalar.One : Scalar.Clip))
                .Input("decay", View(Scalar.Decay))
                .Input("beta1", View(Scalar.Beta1))
                .Input("one_minus_beta1", View(Scalar.OneMinusBeta1))
                .Input("beta2", View(Scalar.Beta2))
                .Input("one_minus_beta2", View(Scalar.OneMinusBeta2))
                .Input("step_size", View(Scalar.StepSize))
                .Input("bias2", View(Scalar.Bias2))
                .Input("epsilon", View(Scalar.Epsilon))
                .Output("parameter_out", Of(_state.Values))
                .Output("first_moment_out", Of(_state.FirstMoments))
                .Output("second_moment_out", Of(_state.SecondMoments)));
        }
    }

    private void Set(Scalar scalar, double value) => _scalars[(int)scalar] = (float)value;

    private OrtValue View(Scalar scalar) => _scalars.View((int)scalar);

    private T Own<T>(T resource) where T : IDisposable
    {
        _owned.Add(resource);
        return resource;
    }

    /// <summary>Neighbouring parameters that are treated alike, cut into slices.</summary>
    private static IEnumerable<Slice> Slices(IEnumerable<TrainedParameter> parameters)
    {
        var ranges = new List<(long Start, long End, bool IsRegularized)>();
        foreach (var p in parameters)
        {
            var isRegularized = p.Orthonormal != Orthonormality.None;
            if (ranges.Count > 0 && ranges[^1] is var last && last.End == p.Offset && last.IsRegularized == isRegularized)
                ranges[^1] = last with { End = p.Offset + p.ElementCount };
            else
                ranges.Add((p.Offset, p.Offset + p.ElementCount, isRegularized));
        }
        foreach (var (start, end, isRegularized) in ranges)
        {
            for (var offset = start; offset < end; offset += SliceElements)
                yield return new Slice(offset, Math.Min(SliceElements, end - offset), isRegularized);
        }
    }

    private readonly record struct Slice(long Offset, long Count, bool IsRegularized);
}
