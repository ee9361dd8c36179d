using System.Security.Cryptography;

namespace SorsaOrt.Data;

/// <summary>The rows of a .jsonl, .json or .parquet file: checked and indexed once, then read from disk one at a time. Only 16 bytes per row are held.</summary>
/// <remarks>A Parquet file's rows are written as JSON lines to a temporary file first: it can only be read a row group at a time.</remarks>
public sealed class RowFile : IDisposable
{
    private FileStream _stream;
    private readonly List<(long Offset, int Length, int Line)> _rows = [];

    private RowFile(string path, FileStream stream)
    {
        FilePath = path;
        _stream = stream;
    }

    /// <summary>The file, as it was named.</summary>
    public string FilePath { get; }

    /// <summary>Rows that can be read.</summary>
    public int Count => _rows.Count;

    /// <summary>Bad rows left out.</summary>
    public int SkippedCount { get; private set; }

    /// <summary>What was wrong with the first row left out, or null.</summary>
    public string? FirstSkipped { get; private set; }

    /// <summary>How many were left out and why, in words; null where none was.</summary>
    public string? SkippedNote => SkippedCount == 0 ? null : $"{SkippedCount} bad rows of '{FilePath}' are skipped, {Count} are used; the first: {FirstSkipped}";

    /// <summary>SHA-256 of the file's bytes, in hexadecimal: a resumed run compares it.</summary>
    public string Fingerprint { get; private set; } = "";

    /// <summary>Reads the file once, checking every row.</summary>
    /// <param name="path">A .jsonl file (a row per line; blank lines are skipped) a .json file (one array of rows, or lines), or a .parquet file.</param>
    /// <param name="check">What else a row must be, such as <see cref="RowEncoder.Check"/>: throws <see cref="DataFormatException"/> through <see cref="Refuse"/>.</param>
    /// <param name="skipBadRows">Leaves bad rows out and counts them, instead of refusing the file.</param>
    public static RowFile Open(string path, Action<RowFile, Row>? check = null, bool skipBadRows = false)
    {
        ArgumentNullException.ThrowIfNull(path);
        string extension = Path.GetExtension(path).ToUpperInvariant();
        if (extension is not (".JSONL" or ".JSON" or ".NDJSON" or ".PARQUET"))
            throw new DataFormatException(path, "the file is none of .jsonl, .json, .parquet", "Name it by its content: one JSON object per line is .jsonl.");
        var stream = InputFile.Open(path, "data file");
        var file = new RowFile(path, stream);
        try
        {
            if (extension == ".PARQUET")
                file.TakeParquet();
            byte[] digest = RowIndex.Scan(file._stream, path, extension == ".JSON", (json, offset, line) => file.Add(json, offset, line, check, skipBadRows));
            if (file.Fingerprint.Length == 0)
                file.Fingerprint = Convert.ToHexStringLower(digest);
            if (file.Count == 0)
                throw new DataFormatException(path, file.SkippedCount == 0 ? "the file has no rows" : $"all {file.SkippedCount} rows are bad; the first: {file.FirstSkipped}",
                    "Give a file with at least one row to learn from.");
            return file;
        }
        catch (IOException e)
        {
            file.Dispose();
            throw new DataFormatException(path, $"the file cannot be read ({e.Message.TrimEnd('.')})", "Check the disk and try again.", e);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Reads and parses row <paramref name="index"/> (from 0, file order, bad rows left out).</summary>
    public Row Read(int index)
    {
        var (offset, length, line) = _rows[index];
        byte[] json = new byte[length];
        for (int done = 0; done < length;)
        {
            int read = RandomAccess.Read(_stream.SafeFileHandle, json.AsSpan(done), offset + done);
            if (read == 0)
                throw Refuse(line, "the file has become shorter since it was opened");
            done += read;
        }
        return RowParser.Parse(json, FilePath, line);
    }

    /// <summary>Line of row <paramref name="index"/>, from 1.</summary>
    public int LineOf(int index) => _rows[index].Line;

    /// <summary>Size of row <paramref name="index"/> in the file: near enough to its length to sort by.</summary>
    public int SizeOf(int index) => _rows[index].Length;

    /// <summary>The error for a row that cannot be used.</summary>
    public DataFormatException Refuse(int line, string reason) => RowParser.Bad(FilePath, line, reason);

    /// <summary>Closes the file.</summary>
    public void Dispose() => _stream.Dispose();

    /// <summary>Goes on with the file's rows as JSON lines; the fingerprint stays that of the file itself.</summary>
    private void TakeParquet()
    {
        using var parquet = _stream;
        _stream = ParquetRows.ToJsonLines(parquet, FilePath);
        parquet.Position = 0;
        Fingerprint = Convert.ToHexStringLower(SHA256.HashData(parquet));
    }

    private void Add(ReadOnlySpan<byte> json, long offset, int line, Action<RowFile, Row>? check, bool skipBadRows)
    {
        try
        {
            var row = RowParser.Parse(json, FilePath, line);
            check?.Invoke(this, row);
            _rows.Add((offset, json.Length, line));
        }
        catch (DataFormatException e) when (skipBadRows && e.Line is not null)
        {
            SkippedCount++;
            FirstSkipped ??= $"line {line}: {e.Reason}";
        }
    }
}
