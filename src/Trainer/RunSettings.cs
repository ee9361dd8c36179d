namespace SorsaOrt.Trainer;

/// <summary>Everything a training run is asked to do. Paths as the user gave them.</summary>
public sealed record RunSettings
{
    /// <summary>Plain sessions of ONNX Runtime.</summary>
    public const string Ort = "ort";

    /// <summary>ONNX Runtime's official on-device training.</summary>
    public const string OrtTraining = "ort-training";

    /// <summary>Folder of the artifacts.</summary>
    public required string Artifacts { get; init; }

    /// <summary>Rows to train on.</summary>
    public required string Data { get; init; }

    /// <summary>Tokenizer file or folder; null for rows of token ids.</summary>
    public string? Tokenizer { get; init; }

    /// <summary>Name or file of the prompt template.</summary>
    public string Template { get; init; } = "alpaca";

    /// <summary>Rows to evaluate on; null: no evaluation.</summary>
    public string? EvalData { get; init; }

    /// <summary>Whether bad rows are skipped and counted rather than refused.</summary>
    public bool SkipBadRows { get; init; }

    /// <summary>cpu, cuda[:N], directml[:N] or auto; a run keeps what auto gave it.</summary>
    public string Device { get; init; } = "auto";

    /// <summary><see cref="Ort"/> or <see cref="OrtTraining"/>.</summary>
    public string Engine { get; init; } = Ort;

    /// <summary>Threads; 0: all processors. A run keeps the number, since another one rounds differently.</summary>
    public int Threads { get; init; }

    /// <summary>Whether packed copies of the frozen weights are kept, for speed; null: as the engine chooses. A run keeps the choice, since the other one rounds differently.</summary>
    public bool? PackWeights { get; init; }

    /// <summary>Whether CUDA multiplies in TF32 while training: faster, and another rounding. A run keeps the choice; null: no.</summary>
    public bool? Tf32 { get; init; }

    /// <summary>The numbers of the run.</summary>
    public TrainingOptions Training { get; init; } = new();

    /// <summary>The same with another engine; null: the same. Whether weights are packed is a choice for <see cref="Ort"/> alone.</summary>
    public RunSettings On(string? engine) => engine is null || engine == Engine ? this : this with { Engine = engine, PackWeights = null };

    /// <summary>Checks what can be checked without opening files.</summary>
    /// <exception cref="ConfigException">With every complaint about <see cref="Training"/>, or the engine.</exception>
    public RunSettings Validated()
    {
        Training.Validated();
        if (Threads < 0)
            throw new ConfigException($"--threads is {Threads}, but must be at least 1 (0: all processors).");
        if (Training.EarlyStop > 0 && EvalData is null)
            throw new ConfigException("--early-stop needs rows to evaluate on: give --eval-data.");
        if (Training.EvalEvery > 0 && EvalData is null)
            throw new ConfigException("--eval-every needs rows to evaluate on: give --eval-data.");
        if (Engine is not (Ort or OrtTraining))
            throw new ConfigException($"--engine '{Engine}' is not known; use ort or ort-training.");
        if (Engine == OrtTraining && PackWeights is true)
            throw new ConfigException("--pack-weights: the official training runtime keeps no packed weights; leave it out with --engine ort-training.");
        if (Engine == OrtTraining && Device is not ("auto" or "cpu"))
            throw new ConfigException($"--device '{Device}': the packages with the official training runtime run on the processor; use --engine ort there, or --device cpu.");
        return this;
    }
}
