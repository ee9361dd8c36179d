using SorsaOrt.Artifacts;

namespace SorsaOrt.Engines;

/// <summary>The eval model over the engine's parameters: loss, or logits at chosen places.</summary>
internal sealed class EvaluationRun : IDisposable
{
    private readonly OrtSession _session;
    private readonly BoundRun _loss;
    private readonly BoundRun _logits;
    private readonly TokenInputs _tokens;
    private readonly FlatBuffer<float> _lossSum = new(1);
    private readonly int _vocabulary;
    private FlatBuffer<float> _logitValues = new(0);

    /// <summary>Loads the model and binds the parameters.</summary>
    public EvaluationRun(ArtifactSet artifacts, EngineOptions options, TrainingState state, TokenInputs tokens)
    {
        _tokens = tokens;
        _vocabulary = artifacts.Manifest.VocabularySize;
        _session = new OrtSession(artifacts.PathOf(ArtifactFiles.EvalModel), options);
        try
        {
            _loss = new BoundRun(_session);
            _logits = new BoundRun(_session);
            foreach (var p in state.Parameters)
            {
                _loss.Input(p.Name, state.Values.View(p.Offset, [.. p.Shape]));
                _logits.Input(p.Name, state.Values.View(p.Offset, [.. p.Shape]));
            }
            _loss.Output(GraphNames.LossSum, _lossSum.View(0));
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Sum of the cross entropy over the labels.</summary>
    public double Loss(in TokenBatch batch)
    {
        _tokens.Bind(_loss, batch);
        _loss.Run();
        return _lossSum[0];
    }

    /// <summary>Logits [N, vocabulary] at the labels' places.</summary>
    public ReadOnlySpan<float> Logits(in TokenBatch batch)
    {
        _tokens.Bind(_logits, batch);
        var rows = batch.LabelPositions.Length;
        var length = checked(rows * _vocabulary);
        if (_logitValues.Length < length)
        {
            var grown = new FlatBuffer<float>(length);
            _logitValues.Dispose();
            _logitValues = grown;
        }
        _logits.Output(GraphNames.Logits, _logitValues.View(0, rows, _vocabulary));
        _logits.Run();
        return _logitValues.Slice(0, length);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _loss?.Dispose();
        _logits?.Dispose();
        _session.Dispose();
        _lossSum.Dispose();
        _logitValues.Dispose();
    }
}
