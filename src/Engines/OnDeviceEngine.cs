using Microsoft.ML.OnnxRuntime;
using SorsaOrt.Artifacts;
using SorsaOrt.Artifacts.OrtFormats;
using OfficialState = Microsoft.ML.OnnxRuntime.CheckpointState;
using Adapted = SorsaOrt.Adapters.Orthonormality;

namespace SorsaOrt.Engines;

/// <summary>Trains with ONNX Runtime's official on-device training (TrainingSession, last released as 1.19.2) over the artifacts of <c>--format ort-training|both</c>.</summary>
/// <remarks>
/// An optimizer step is LazyResetGrad, a TrainStep for each micro-batch, SetLearningRate, OptimizerStep. The runtime keeps parameters, gradients and moments to itself:
/// the gradient's norm is an output of training_model.onnx, the regulariser is computed from a copy of the parameters, and what it puts into the gradients, like clipping and
/// weight decay, is part of the optimizer graph, which is made for the run. State goes in and out as official checkpoints, in a folder of its own under the system's temporary one.
/// The calls are written from the managed package and ../shared/conformance/ort-training/SPEC.md; they have not been run, since no native library with training was at hand. The same
/// sequence on the same graphs was, in the WebAssembly build of 1.19.2 (tests/EndToEnd.Tests, OfficialRuntimeTests).
/// </remarks>
public sealed class OnDeviceEngine : ITrainingEngine
{
    private const string Optimizer = "optimizer_model.onnx";

    private readonly EngineOptions _options;
    private readonly AdamWOptions _adamW;
    private readonly DirectoryInfo _folder;
    private OfficialState _state;
    private TrainingSession _session;
    private OrtCheckpoint? _exported;
    private double _squares;
    private bool _startsAnew = true;

    private OnDeviceEngine(ArtifactSet artifacts, EngineOptions options, AdamWOptions adamW, ReadOnlySpan<byte> optimizerModel)
    {
        (Artifacts, _options, _adamW) = (artifacts, options, adamW);
        // First of all: without training in the library nothing else is of interest, and nothing is written.
        _state = LoadState(Path.Combine(artifacts.Folder, ArtifactFiles.OrtCheckpoint));
        _folder = Directory.CreateTempSubdirectory("sorsa-ort-training-");
        try
        {
            File.WriteAllBytes(At(Optimizer), optimizerModel);
            _session = OpenSession();
        }
        catch
        {
            _state.Dispose();
            _folder.Delete(recursive: true);
            throw;
        }
    }

    /// <inheritdoc/>
    public ArtifactSet Artifacts { get; }

    /// <inheritdoc/>
    public long Step { get; private set; }

    /// <inheritdoc/>
    public TrainingState? State => null;

    /// <summary>Opens the official artifacts with the parameters as built.</summary>
    /// <param name="artifacts">Built with --format ort-training or both.</param>
    /// <param name="options">Threads; the device is the processor.</param>
    /// <param name="adamW">What every <see cref="Update"/> will be asked for.</param>
    /// <param name="optimizerModel">The optimizer graph with just these numbers.</param>
    /// <exception cref="EngineException">The native library has no training, or the artifacts are not for it.</exception>
    public static OnDeviceEngine Open(ArtifactSet artifacts, EngineOptions options, AdamWOptions adamW, ReadOnlySpan<byte> optimizerModel)
    {
        ArgumentNullException.ThrowIfNull(artifacts);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(adamW);
        return new OnDeviceEngine(artifacts, options, adamW, optimizerModel);
    }

    /// <inheritdoc/>
    public StepResult Accumulate(in TokenBatch batch, double lossScale)
    {
        if (_startsAnew)
            _session.LazyResetGrad();
        _startsAnew = false;
        using var inputs = Inputs(_session.InputNames(training: true), batch, lossScale);
        using var outputs = Run("training_model.onnx", () => _session.TrainStep(inputs.Values));
        var names = _session.OutputNames(training: true);
        _squares = Scalar(outputs, names, GraphNames.SquaredGradientNorm);
        return new StepResult(Scalar(outputs, names, GraphNames.LossSum), batch.LabelPositions.Length);
    }

    /// <inheritdoc/>
    public UpdateResult Update(AdamWOptions options, double learningRate)
    {
        if (options != _adamW)
            throw new InvalidOperationException("The optimizer graph was made for other numbers than it is now asked for.");
        var result = new UpdateResult(Math.Sqrt(_squares), OrthonormalityLoss());
        DiscardGradients();
        if (!result.IsFinite)
            return result;
        Forget();
        _session.SetLearningRate((float)learningRate);
        Run(Optimizer, () =>
        {
            _session.OptimizerStep();
            return 0;
        });
        Step++;
        return result;
    }

    /// <inheritdoc/>
    public void DiscardGradients()
    {
        _startsAnew = true;
        _squares = 0;
    }

    /// <inheritdoc/>
    public StepResult Evaluate(in TokenBatch batch)
    {
        using var inputs = Inputs(_session.InputNames(training: false), batch, lossScale: 1);
        using var outputs = Run("eval_model.onnx", () => _session.EvalStep(inputs.Values));
        return new StepResult(Scalar(outputs, _session.OutputNames(training: false), GraphNames.LossSum), batch.LabelPositions.Length);
    }

    /// <inheritdoc/>
    public bool IsFinite
    {
        get
        {
            var values = Export();
            var length = Artifacts.Manifest.ParameterCount;
            return FlatBuffers.IsFinite(values.Parameters, length) && FlatBuffers.IsFinite(values.FirstMoments, length) && FlatBuffers.IsFinite(values.SecondMoments, length);
        }
    }

    /// <inheritdoc/>
    public void Save(CheckpointWriter checkpoint)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        var values = Export();
        checkpoint.WriteParameters(values.Parameters);
        checkpoint.WriteMoments(values.FirstMoments, values.SecondMoments);
    }

    /// <inheritdoc/>
    public void Load(Checkpoint checkpoint)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        var path = At("loaded");
        using (var stream = File.Create(path))
            OrtCheckpointConversion.Write(checkpoint, Artifacts, stream);
        // The optimizer's state is read where a session is made, so both are made anew.
        _session.Dispose();
        _state.Dispose();
        Forget();
        _state = LoadState(path);
        _session = OpenSession();
        Step = checkpoint.State.Step;
        DiscardGradients();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Forget();
        _session.Dispose();
        _state.Dispose();
        if (Directory.Exists(_folder.FullName))
            _folder.Delete(recursive: true);
    }

    private string At(string name) => Path.Combine(_folder.FullName, name);

    private OfficialState LoadState(string path)
    {
        OrtRuntime.Start();
        try
        {
            return OfficialState.LoadCheckpoint(path);
        }
        catch (InvalidOperationException e)
        {
            throw new EngineException($"The native ONNX Runtime {OrtRuntime.Version} of this build has no training. The last package that has it is Microsoft.ML.OnnxRuntime.Training 1.19.2: "
                + "build with -p:OrtFlavor=training where a NuGet source serves it, or use --engine ort, which trains the same artifacts (build-artifacts --format both).", e);
        }
        catch (OnnxRuntimeException e)
        {
            throw Artifacts.Has(ArtifactFiles.OrtCheckpoint)
                ? new EngineException($"ONNX Runtime refuses the checkpoint '{path}': {e.Message}", e) { IsModelRefused = true }
                : new EngineException($"'{Artifacts.Folder}' was built with --format ort and holds nothing for the official training runtime; build with --format ort-training or both.", e) { IsModelRefused = true };
        }
    }

    private TrainingSession OpenSession()
    {
        try
        {
            using var session = new SessionOptions { IntraOpNumThreads = _options.Threads, InterOpNumThreads = 1, LogSeverityLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_ERROR };
            return new TrainingSession(session, _state, Artifacts.PathOf(ArtifactFiles.TrainingModel), Artifacts.PathOf(ArtifactFiles.EvalModel), At(Optimizer));
        }
        catch (OnnxRuntimeException e)
        {
            throw new EngineException($"ONNX Runtime's training refuses the artifacts '{Artifacts.Folder}': {e.Message}", e) { IsModelRefused = true };
        }
    }

    /// <summary>The state as the runtime writes it; good until <see cref="Forget"/>.</summary>
    private OrtCheckpointValues Export()
    {
        if (_exported is null)
        {
            var path = At("saved");
            Run("checkpoint", () =>
            {
                OfficialState.SaveCheckpoint(_state, path, includeOptimizerState: true);
                return 0;
            });
            _exported = OrtCheckpoint.Open(path);
        }
        return OrtCheckpointValues.Of(_exported, Artifacts.Manifest.Parameters);
    }

    private void Forget()
    {
        _exported?.Dispose();
        _exported = null;
    }

    // From a copy of all parameters, one after the other in the order of training_model.onnx's inputs, which is the manifest's.
    private double OrthonormalityLoss()
    {
        var matrices = Artifacts.Manifest.Parameters.Where(p => p.Orthonormal != Orthonormality.None).ToArray();
        if (matrices.Length == 0)
            return 0;
        using var values = Run("parameters", () => _session.ToBuffer(onlyTrainable: true));
        var flat = values.GetTensorDataAsSpan<float>();
        var sum = 0.0;
        foreach (var matrix in matrices)
        {
            var (rows, columns) = ((int)matrix.Shape[0], (int)matrix.Shape[1]);
            var elements = flat.Slice(checked((int)matrix.Offset), rows * columns);
            sum += matrix.Orthonormal == Orthonormality.Rows ? Adapted.RowDeviation(elements, rows, columns) : Adapted.ColumnDeviation(elements, rows, columns);
        }
        return sum / matrices.Length;
    }

    private static BatchValues Inputs(IReadOnlyList<string> names, in TokenBatch batch, double lossScale)
    {
        var inputs = new BatchValues();
        foreach (var name in names)
            inputs.Add(name, batch, lossScale);
        return inputs;
    }

    private static float Scalar(IReadOnlyList<OrtValue> outputs, List<string> names, string name) =>
        names.IndexOf(name) is >= 0 and var at ? outputs[at].GetTensorDataAsSpan<float>()[0]
            : throw new EngineException($"the artifacts' graph has no output '{name}': they were built by an older sorsa; build them again.");

    private static T Run<T>(string what, Func<T> run)
    {
        try
        {
            return run();
        }
        catch (OnnxRuntimeException e)
        {
            throw new EngineException($"'{what}' failed in ONNX Runtime's training: {e.Message}", e);
        }
    }

    /// <summary>A batch as the runtime takes it: by position.</summary>
    private sealed class BatchValues : IDisposable
    {
        private readonly List<OrtValue> _values = [];

        public IReadOnlyCollection<OrtValue> Values => _values;

        public void Add(string name, in TokenBatch batch, double lossScale)
        {
            long[] size = [batch.BatchSize, batch.SequenceLength], count = [batch.LabelPositions.Length];
            var length = batch.SequenceLength;
            _values.Add(name switch
            {
                GraphNames.InputIds => Of(batch.InputIds.ToArray(), size),
                GraphNames.AttentionMask => Of(batch.AttentionMask.IsEmpty ? [.. Enumerable.Repeat(1L, batch.InputIds.Length)] : batch.AttentionMask.ToArray(), size),
                GraphNames.PositionIds => Of(batch.PositionIds.IsEmpty ? [.. Enumerable.Range(0, batch.InputIds.Length).Select(i => (long)(i % length))] : batch.PositionIds.ToArray(), size),
                GraphNames.LabelPositions => Of(batch.LabelPositions.ToArray(), count),
                GraphNames.LabelIds => Of(batch.LabelIds.ToArray(), count),
                GraphNames.LossScale => Of(new[] { (float)lossScale }, []),
                _ => throw new EngineException($"the artifacts' graph asks for '{name}', which this engine does not feed."),
            });
        }

        public void Dispose()
        {
            foreach (var value in _values)
                value.Dispose();
        }

        private static OrtValue Of<T>(T[] values, long[] shape) where T : unmanaged => OrtValue.CreateTensorValueFromMemory(values, shape);
    }
}
